/** What is left: a person's caps on their own money, and the budgets and rates of what is lent to them. */
import { html, nothing, svg, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { MOST_DOLLARS, readMoney, writeMoney, type Typed } from "../core/money.js";
import { limits as texts } from "../i18n/limits.js";
import { shell } from "../i18n/shell.js";
import type { PanelSurroundings } from "../panel.js";
import { field, pill, skeleton } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { failure } from "../parts/failure.js";

type Standing = components["schemas"]["BudgetStandingOut"];
type Line = components["schemas"]["BudgetLineOut"];
type Rate = components["schemas"]["RateLineOut"];
type Action = "stop" | "warn";
type Period = "day" | "month";

interface Draft {
  day: string;
  month: string;
  action: Action;
  faults: Partial<Record<Period, string>>;
  fault: string | null;
  busy: boolean;
}

// Where the server begins to warn.
const NEAR = 0.8;

export class Limits {
  #standing: Standing | null = null;
  #failure: unknown = null;
  #draft: Draft | null = null;

  constructor(private readonly at: PanelSurroundings) {}

  enter(): void {
    void this.#load();
  }

  leave(): void {
    this.#draft = null;
  }

  render(): TemplateResult {
    const t = texts[this.at.language];
    const standing = this.#standing;
    const may = this.at.store.session.scopes.includes("settings");
    return html`<section class="section limits" aria-labelledby="limits">
      <header>
        <div><h2 id="limits">${t.title}</h2><p>${standing && !standing.own.length ? t.none : t.lead}</p></div>
        ${standing && may
          ? html`<button @click=${() => this.#begin()}>${standing.own.length ? t.change : t.set}</button>`
          : nothing}
      </header>
      ${standing
        ? this.#lines(standing)
        : this.#failure
          ? failure(this.#failure, this.at.language, () => void this.#load())
          : skeleton(shell[this.at.language].loading, 1)}
      ${this.#draft ? this.#dialog(this.#draft) : nothing}
    </section>`;
  }

  #lines({ own, ...lent }: Standing): TemplateResult | typeof nothing {
    // Whoever pays for everything has nothing of shared money to look at, unless some was used.
    const used = lent.shared.some((one) => one.scope === "user" && one.spent_microdollars) || lent.rates.some((one) => one.used);
    const { settings, tasks } = this.at.store;
    const refused = [settings, ...tasks].every((one) => (one.payer ?? settings.payer) === "own_only");
    const { shared, rates } = refused && !used ? { shared: [], rates: [] } : lent;
    if (!own.length && !shared.length && !rates.length) return nothing;
    return html`<ul class="limits-list">
      ${own.map((one) => this.#money(one))} ${shared.map((one) => this.#money(one))} ${rates.map((one) => this.#rate(one))}
    </ul>`;
  }

  #money(line: Line): TemplateResult {
    const t = texts[this.at.language];
    const { format } = this.at;
    const { limit_microdollars: limit, spent_microdollars: spent, left_microdollars: left, reserved_microdollars: held } = line;
    const name = t[line.scope][line.period];
    const told = limit !== null && spent !== null;
    const share = told ? (limit ? spent / limit : 1) : line.reached ? 1 : 0;
    return this.#card(name, line.reached ? "reached" : share >= NEAR ? "near" : null, line.resets_at, told ? share : null, [
      told ? t.spentOf(format.money(spent), format.money(limit)) : line.reached ? t.reached : t.some,
      told && left !== null ? t.left(format.money(left)) : "",
      held ? t.promised(format.money(held)) : "",
      line.action === "warn" ? t.warns : "",
    ]);
  }

  #rate(line: Rate): TemplateResult {
    const t = texts[this.at.language];
    const { format } = this.at;
    const share = line.used / line.limit_per_minute;
    return this.#card(t[line.unit], line.left ? null : "reached", null, share, [
      t.usedOf(format.number(line.used), format.number(line.limit_per_minute)),
    ]);
  }

  #card(name: string, state: "reached" | "near" | null, anew: string | null, share: number | null, facts: string[]): TemplateResult {
    const t = texts[this.at.language];
    const told = facts.filter(Boolean);
    return html`<li class="card limits-card">
      <h3>${name}</h3>
      ${state ? pill(t[state], state === "reached" ? "bad" : "warn") : nothing}
      ${share === null ? nothing : bar(share, state)}
      <p>${told[0]}${told.slice(1).map((one) => html` <span class="muted">· ${one}</span>`)}</p>
      ${anew ? html`<p class="muted small" title=${this.at.format.dateTime(anew)}>${t.anew(this.at.format.relative(anew))}</p>` : nothing}
    </li>`;
  }

  async #load(): Promise<void> {
    try {
      this.#standing = await this.at.api.get("/api/budget");
      this.#failure = null;
    } catch (error) {
      if (this.#standing) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.at.requestUpdate();
  }

  // Caps

  #begin(): void {
    const { caps } = this.at.store.settings;
    const { locale } = this.at.format;
    this.#draft = {
      day: writeMoney(caps.day_microdollars, locale),
      month: writeMoney(caps.month_microdollars, locale),
      action: caps.action as Action,
      faults: {},
      fault: null,
      busy: false,
    };
    this.at.requestUpdate();
  }

  #dialog(draft: Draft): TemplateResult {
    const t = texts[this.at.language];
    const s = shell[this.at.language];
    const close = () => ((this.#draft = null), this.at.requestUpdate());
    const [dayAmount, monthAmount] = this.#read(draft);
    const monthBelowDay = typeof dayAmount === "number" && typeof monthAmount === "number" && monthAmount < dayAmount;
    const amount = (period: Period) =>
      field({
        id: `limits-${period}`,
        label: t[period],
        hint: period === "month" && monthBelowDay ? html`${t.emptyHint} <span class="limits-doubt">${t.belowDay}</span>` : t.emptyHint,
        error: draft.faults[period] ?? null,
        control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} inputmode="decimal"
          autocomplete="off" maxlength="20" ?autofocus=${period === "day"} .value=${draft[period]}
          aria-invalid=${draft.faults[period] ? "true" : "false"}
          @input=${(event: Event) => {
            draft[period] = (event.target as HTMLInputElement).value;
            delete draft.faults[period];
            this.at.requestUpdate();
          }} />`,
      });
    return dialog({
      id: "limits",
      title: t.dialog,
      closeLabel: s.close,
      onClose: close,
      onSubmit: () => void this.#save(draft),
      body: html`<p class="muted">${t.dialogText}</p>
        ${amount("day")} ${amount("month")}
        <fieldset class="field">
          <legend>${t.action}</legend>
          ${(["stop", "warn"] as const).map(
            (one) => html`<label class="choice"
              ><input type="radio" name="limits-action" .checked=${draft.action === one}
                @change=${() => ((draft.action = one), this.at.requestUpdate())} />
              <span>${t[one]}<small class="limits-hint">${t[`${one}Hint`]}</small></span></label
            >`,
          )}
        </fieldset>
        ${draft.fault ? html`<p class="fault" role="alert">${draft.fault}</p>` : nothing}`,
      actions: html`<button type="button" @click=${close}>${s.cancel}</button>
        <button class="primary" ?disabled=${draft.busy}>${s.save}</button>`,
    });
  }

  #read({ day, month }: Draft): [Typed, Typed] {
    const { locale } = this.at.format;
    return [readMoney(day, locale), readMoney(month, locale)];
  }

  async #save(draft: Draft): Promise<void> {
    const t = texts[this.at.language];
    const [day, month] = this.#read(draft);
    const fault = (amount: Typed) => (amount === "much" ? t.much(this.at.format.dollars(MOST_DOLLARS)) : t.bad);
    draft.faults = {
      ...(typeof day === "string" && { day: fault(day) }),
      ...(typeof month === "string" && { month: fault(month) }),
    };
    this.at.requestUpdate();
    if (typeof day === "string" || typeof month === "string") {
      const wrong = typeof day === "string" ? "day" : "month";
      this.at.root.querySelector<HTMLElement>(`#limits-${wrong}`)?.focus();
      return;
    }
    draft.busy = true;
    try {
      await this.at.store.change("settings", "patch", "/api/settings", {
        body: { caps: { day_microdollars: day, month_microdollars: month, action: draft.action } },
      });
      this.#draft = null;
      this.at.notices.done(t.saved);
      await this.#load();
    } catch (error) {
      draft.fault = explain(error, this.at.language);
    }
    draft.busy = false;
    this.at.requestUpdate();
  }
}

/** How much of a limit is used; the numbers stand beside it. */
function bar(share: number, state: "reached" | "near" | null): TemplateResult {
  const width = Math.round(Math.min(1, Math.max(0, share)) * 1000) / 10;
  return html`<svg class="limits-bar ${state ?? ""}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
    ${svg`<rect class="whole" width="100" height="6"></rect><rect class="used" width=${width} height="6"></rect>`}
  </svg>`;
}
