import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { admin } from "../i18n/admin.js";
import { adminUsage } from "../i18n/admin_usage.js";
import { usageWords, type UsageWords } from "../i18n/usage.js";
import { empty, saveFile } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import { UsageBrowser, usageStyles } from "../parts/usage_browser.js";
import { drawBudgets, type Overview } from "./budgets.js";
import type { AdminSurroundings } from "./surroundings.js";
import styles from "./usage.css?inline";

type SharedUser = components["schemas"]["SharedUserOut"];

/** What everybody used, and who of them at the operator's expense. */
export class AdminUsageView extends View<AdminSurroundings> {
  override readonly styles = usageStyles + styles;

  #shared: readonly SharedUser[] | null = null;
  #budgets: Overview | null = null;
  #browser = new UsageBrowser(this.at, {
    path: "/api/admin/usage",
    splits: ["user", "provider", "model", "task", "payer"],
    words: () => this.#words(),
    label: (provider) => this.at.label(provider),
    beside: async (days, signal) => {
      [this.#shared, this.#budgets] = await Promise.all([
        this.at.api.get("/api/admin/shared-users", { query: { ...days }, signal }),
        this.at.api.get("/api/admin/budgets", { signal }),
      ]);
    },
  });

  override enter(): void {
    this.#browser.open();
  }

  override leave(): void {
    this.#browser.close();
  }

  override render(): TemplateResult {
    return html`<h2 class="hidden">${adminUsage[this.at.language].title}</h2>
      ${this.#browser.render()} ${this.#budgets ? drawBudgets(this.at, this.#budgets) : nothing}
      ${this.#shared ? this.#sharedUsers(this.#shared) : nothing}`;
  }

  /** Of others' keys nobody says "your key". */
  #words(): UsageWords {
    const { language } = this.at;
    return { ...usageWords(language), ...adminUsage[language].usage, ...admin[language].payer };
  }

  #sharedUsers(all: readonly SharedUser[]): TemplateResult {
    const t = adminUsage[this.at.language];
    return html`<section class="section all-usage">
      <header>
        <div>
          <h2>${t.shared}</h2>
          <p>${t.sharedLead}</p>
        </div>
        ${all.length
          ? html`<button aria-label=${t.csv} @click=${() => void this.#save()}>${icon("download")}CSV</button>`
          : nothing}
      </header>
      ${all.length ? this.#table(all) : empty(t.nobody, t.nobodyText)}
    </section>`;
  }

  #table(all: readonly SharedUser[]): TemplateResult {
    const { language, format } = this.at;
    const t = adminUsage[language];
    const w = this.#words();
    return html`<div class="table" tabindex="0" role="region" aria-label=${t.shared}>
      <table>
        <caption class="hidden">${t.shared}</caption>
        <thead>
          <tr>
            <th scope="col">${t.user}</th>
            <th scope="col">${t.providers}</th>
            <th scope="col" class="number" title=${w.estimatedTitle}>${t.cost}</th>
            <th scope="col" class="number">${t.requests}</th>
            <th scope="col" class="number">${t.tokens}</th>
            <th scope="col" class="number">${t.errors}</th>
            <th scope="col">${t.last}</th>
          </tr>
        </thead>
        <tbody>
          ${all.map((one) => {
            const unpriced = one.unpriced_requests;
            return html`<tr>
              <th scope="row"><span class="all-usage-user" title=${one.user_id}>${one.user_id}</span></th>
              <td>${format.list(one.providers.map((provider) => this.at.label(provider)))}</td>
              <td class="number">
                ${unpriced && !one.cost_microdollars ? "—" : format.money(one.cost_microdollars)}
                ${unpriced ? html`<div class="muted small">${w.unpricedShort(format.number(unpriced))}</div>` : nothing}
              </td>
              <td class="number">${format.number(one.requests)}</td>
              <td class="number">${format.number(one.input_tokens + one.output_tokens)}</td>
              <td class="number">${format.percent(one.requests ? one.errors / one.requests : 0)}</td>
              <td class="nowrap">${format.day(one.last_day)}</td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>`;
  }

  async #save(): Promise<void> {
    try {
      const { blob, name } = await this.at.api.download("/api/admin/shared-users.csv", { ...this.#browser.days });
      saveFile(blob, name);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }
}
