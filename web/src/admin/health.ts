import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { admin } from "../i18n/admin.js";
import { health } from "../i18n/admin_health.js";
import { shell } from "../i18n/shell.js";
import { empty, payerMark, pill, skeleton } from "../parts/controls.js";
import { failure } from "../parts/failure.js";
import { icon } from "../parts/icons.js";
import { errorsList } from "./errors_list.js";
import styles from "./health.css?inline";
import type { AdminSurroundings } from "./surroundings.js";

type Provider = components["schemas"]["ProviderHealthOut"];
type Fallback = components["schemas"]["FallbackOut"];

/** How the providers do, and which requests had to go elsewhere. */
export class HealthView extends View<AdminSurroundings> {
  override readonly styles = styles;

  #providers: readonly Provider[] | null = null;
  #fallbacks: readonly Fallback[] = [];
  #asked = "";
  #failure: unknown = null;
  #busy = false;

  override enter(): void {
    void this.#load();
  }

  override render(): TemplateResult {
    const { language, format } = this.at;
    const t = health[language];
    return html`<section class="section">
        <header>
          <div>
            <h2>${t.title}</h2>
            <p>${t.lead} <span role="status">${this.#asked ? t.checked(format.time(this.#asked)) : nothing}</span></p>
          </div>
          <button ?disabled=${this.#busy} @click=${() => void this.#load()}>${icon("refresh")}${t.refresh}</button>
        </header>
        ${this.#providers
          ? this.#board(this.#providers)
          : this.#failure
            ? failure(this.#failure, language, () => void this.#load())
            : skeleton(shell[language].loading, 5)}
      </section>
      ${this.#providers
        ? html`<section class="section">
            <header>
              <div>
                <h2>${t.fallbacks}</h2>
                <p>${t.fallbacksLead}</p>
              </div>
            </header>
            ${this.#fallbacks.length ? this.#moves(this.#fallbacks) : empty(t.noFallbacks, nothing)}
          </section>`
        : nothing}`;
  }

  #board(all: readonly Provider[]): TemplateResult {
    const t = health[this.at.language];
    const telling = all.filter((one) => one.requests || one.down_until || one.shared_key_blocked_until);
    const used = [...telling].sort((a, b) => urgency(b) - urgency(a) || b.requests - a.requests);
    const unused = all.filter((one) => !telling.includes(one));
    return html`${used.length
      ? html`<div class="table" tabindex="0" role="region" aria-label=${t.title}>
          <table>
            <caption class="hidden">${t.title}</caption>
            <thead>
              <tr>
                <th scope="col">${t.provider}</th>
                <th scope="col">${t.state}</th>
                <th scope="col" class="number">${t.requests}</th>
                <th scope="col" class="number">${t.errors}</th>
                <th scope="col" class="number" title=${t.durationTitle}>${t.duration}</th>
                <th scope="col" class="number" title=${t.slowTitle}>${t.slow}</th>
              </tr>
            </thead>
            <tbody>
              ${used.map((one) => this.#row(one))}
            </tbody>
          </table>
        </div>`
      : empty(t.nobody, t.nobodyText)}
    ${unused.length
      ? html`<details class="health-unused">
          <summary>${t.unused(unused.length)}</summary>
          <ul>
            ${unused.map(
              (one) =>
                html`<li class="row">${one.label} ${one.allowed ? nothing : this.#barred()} ${this.#shared(one)}</li>`,
            )}
          </ul>
        </details>`
      : nothing}`;
  }

  #row(one: Provider): TemplateResult {
    const { language, format } = this.at;
    const t = health[language];
    const failed = countErrors(one);
    return html`<tr>
      <th scope="row"><span class="health-provider">${one.label} ${this.#shared(one)}</span></th>
      <td>${this.#state(one)}</td>
      <td class="number">${format.number(one.requests)}</td>
      <td class="number">
        ${failed
          ? html`${t.errorsOf(format.number(failed), format.percent(failed / one.requests))}
            ${errorsList(one.errors, language, format)}`
          : html`<span class="muted">0</span>`}
      </td>
      <td class="number">${format.duration(one.p50_duration_ms)}</td>
      <td class="number">${format.duration(one.p95_duration_ms)}</td>
    </tr>`;
  }

  /** One state per provider: what an administrator would want to know first. */
  #state(one: Provider): TemplateResult {
    const { language, format } = this.at;
    const t = health[language];
    const when = (instant: string): string => format.relative(instant);
    if (one.down_until) return pill(t.down(when(one.down_until)), "bad", format.dateTime(one.down_until));
    if (one.shared_key_blocked_until) {
      const until = one.shared_key_blocked_until;
      return pill(t.blocked(when(until)), "warn", format.dateTime(until));
    }
    if (!one.allowed) return this.#barred();
    return countErrors(one) ? pill(t.some, "warn") : pill(t.fine, "good");
  }

  #barred(): TemplateResult {
    return html`<span class="pill">${icon("lock")}${health[this.at.language].barred}</span>`;
  }

  #shared(one: Provider): TemplateResult | typeof nothing {
    return one.shared_key ? payerMark("shared", admin[this.at.language].payer) : nothing;
  }

  #moves(all: readonly Fallback[]): TemplateResult {
    const { language, format } = this.at;
    const t = health[language];
    const hop = (provider: string, payer: string): TemplateResult =>
      html`<span class="health-hop">${this.at.label(provider)} ${payerMark(payer, admin[language].payer)}</span>`;
    return html`<div class="table" tabindex="0" role="region" aria-label=${t.fallbacks}>
      <table>
        <caption class="hidden">${t.fallbacks}</caption>
        <thead>
          <tr>
            <th scope="col">${t.from}</th>
            <th scope="col">${t.to}</th>
            <th scope="col">${t.why}</th>
            <th scope="col" class="number">${t.times}</th>
            <th scope="col" class="number">${t.answered}</th>
            <th scope="col">${t.last}</th>
          </tr>
        </thead>
        <tbody>
          ${all.map(
            (one) => html`<tr>
              <th scope="row">${hop(one.from_provider, one.from_payer)}</th>
              <td>${hop(one.to_provider, one.to_payer)}</td>
              <td class="health-why">${errorsList(one.errors, language, format)}</td>
              <td class="number">${format.number(one.requests)}</td>
              <td class="number">${format.percent(one.answered / one.requests)}</td>
              <td class="nowrap" title=${format.dateTime(one.last_at)}>${format.relative(one.last_at)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }

  async #load(): Promise<void> {
    this.#busy = true;
    this.update();
    try {
      const { api } = this.at;
      [this.#providers, this.#fallbacks] = await Promise.all([
        api.get("/api/admin/health"),
        api.get("/api/admin/fallbacks"),
      ]);
      this.#asked = new Date().toISOString();
      this.#failure = null;
    } catch (error) {
      if (this.#providers) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.#busy = false;
    this.update();
  }
}

function countErrors(one: Provider): number {
  return Object.values(one.errors).reduce((sum, count) => sum + count, 0);
}

/** What is broken stands first. */
function urgency(one: Provider): number {
  return one.down_until ? 2 : one.shared_key_blocked_until ? 1 : 0;
}
