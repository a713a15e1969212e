/** A person's latest requests, and for each what was tried in which order. */
import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { outcomes } from "../i18n/outcomes.js";
import { requestTexts } from "../i18n/requests.js";
import { shell } from "../i18n/shell.js";
import { skipped } from "../i18n/skipped.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { payerMark, pill, saveFile, skeleton } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";

type Logged = components["schemas"]["LoggedRequestOut"];
type Attempt = components["schemas"]["LoggedAttemptOut"];

/** Which requests are listed; empty texts ask for all. */
export interface RequestFilter {
  provider: string;
  task: string;
  outcome: "" | "error";
}

const ALL: RequestFilter = { provider: "", task: "", outcome: "" };
const PAGE = 20;
const LOOK_SECONDS = 20;
// The address of one request, on the server's own page: it survives a reload and can be sent to the administrator.
const ADDRESS = /^#usage\/([\w-]+)$/;
// How the server names the price of the operator's own that a call was charged by.
const OWN_PRICE = /^own price of (\S+?)(?: since (\d{4}-\d\d-\d\d))?(?: times ([\d.]+))?$/;

export class Requests {
  #list: Logged[] | null = null;
  #filter = ALL;
  // What has come since: the table holds still while somebody reads it.
  #fresh: Logged[] = [];
  #more = false;
  #loading = false;
  #failure: unknown = null;
  #open: Logged | null = null;
  #timer = 0;

  constructor(private readonly at: PanelSurroundings) {}

  enter(): void {
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => void this.#look(), LOOK_SECONDS * 1000);
    void this.#load();
    if (!this.at.session) return;
    addEventListener("hashchange", this.#follow);
    this.#follow();
  }

  leave(): void {
    clearInterval(this.#timer);
    removeEventListener("hashchange", this.#follow);
    this.#open = null;
  }

  /** Lists what is asked for, and takes the person there. */
  pick(filter: RequestFilter): void {
    this.#choose(filter);
    const heading = this.at.root.querySelector<HTMLElement>("#usage-requests");
    heading?.focus({ preventScroll: true });
    heading?.scrollIntoView({ block: "start" });
  }

  render(): TemplateResult {
    const { language, format } = this.at;
    const t = requestTexts[language];
    const fresh = this.#fresh.length;
    return html`<section class="section usage-requests">
      <header>
        <div><h2 id="usage-requests" tabindex="-1">${t.title}</h2><p>${t.intro}</p></div>
        <div class="row">
          <div role="status">${fresh
            ? html`<button @click=${this.#showFresh}>${icon("up")}${t.fresh(format.locale, fresh, fresh === PAGE)}</button>`
            : nothing}</div>
          ${(["csv", "json"] as const).map(
            (kind) => html`<button aria-label=${t.file(kind.toUpperCase())} ?disabled=${!this.#list?.length}
              @click=${() => void this.#save(kind)}>${icon("download")}${kind.toUpperCase()}</button>`,
          )}
        </div>
      </header>
      ${this.#drawFilter()} ${this.#drawList()} ${this.#open ? this.#drawDialog(this.#open) : nothing}
    </section>`;
  }

  /** Shows one request, or none, and says so in the address where that is ours. */
  #show(one: Logged | null): void {
    this.#open = one;
    if (this.at.session) history.replaceState(history.state, "", one ? `#usage/${one.id}` : "#usage");
    this.at.requestUpdate();
  }

  /** Opens the request that the address names. */
  #follow = async (): Promise<void> => {
    const id = ADDRESS.exec(location.hash)?.[1];
    if (!id || id === this.#open?.id) return;
    try {
      const found = await this.at.api.get("/api/requests/{request_id}", { path: { request_id: id } });
      // Unless the person has gone elsewhere meanwhile.
      if (ADDRESS.exec(location.hash)?.[1] === id) this.#show(found);
    } catch (error) {
      this.#show(null);
      this.at.notices.failed(error);
    }
  };

  /** The requests of the kind that is listed, with each attempt, as the server writes them. */
  async #save(kind: "csv" | "json"): Promise<void> {
    try {
      const { blob, name } = await this.at.api.download(`/api/requests.${kind}`, this.#query());
      saveFile(blob, name);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }

  #choose(filter: RequestFilter): void {
    this.#filter = filter;
    void this.#load();
  }

  #query(): { provider?: string; task?: string; outcome?: "error" } {
    const { provider, task, outcome } = this.#filter;
    return { ...(provider && { provider }), ...(task && { task }), ...(outcome && { outcome }) };
  }

  async #load(older = false): Promise<void> {
    if (this.#loading && older) return;
    this.#loading = true;
    const filter = this.#filter;
    try {
      const before = older ? this.#list?.at(-1)?.id : undefined;
      const page = await this.at.api.get("/api/requests", { query: { ...this.#query(), limit: PAGE, before } });
      if (filter !== this.#filter) return;
      this.#list = older ? [...(this.#list ?? []), ...page] : page;
      if (!older) this.#fresh = [];
      this.#more = page.length === PAGE;
      this.#failure = null;
    } catch (error) {
      if (filter !== this.#filter) return;
      if (this.#list) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.#loading = false;
    this.at.requestUpdate();
  }

  async #look(): Promise<void> {
    if (document.visibilityState !== "visible" || !this.#list || this.#loading) return;
    try {
      const known = this.#list[0]?.id;
      const filter = this.#filter;
      const page = await this.at.api.get("/api/requests", { query: { ...this.#query(), limit: PAGE } });
      if (filter !== this.#filter || this.#loading) return;
      const place = page.findIndex((one) => one.id === known);
      this.#fresh = place < 0 ? page : page.slice(0, place);
      this.at.requestUpdate();
    } catch {
      // Nobody asked for this look; the next one, or what the person does, will tell.
    }
  }

  #showFresh = (): void => {
    if (this.#fresh.length === PAGE) return void this.#load();
    this.#list = [...this.#fresh, ...this.#list!];
    this.#fresh = [];
    this.at.requestUpdate();
  };

  #drawFilter(): TemplateResult {
    const { language, store } = this.at;
    const t = requestTexts[language];
    const pick = (name: keyof RequestFilter, label: string, all: string, options: readonly (readonly [string, string])[]) =>
      html`<div class="usage-pick"><label for="requests-${name}">${label}</label>
        <select id="requests-${name}" @change=${(event: Event) =>
          this.#choose({ ...this.#filter, [name]: (event.target as HTMLSelectElement).value })}>
          <option value="" .selected=${!this.#filter[name]}>${all}</option>
          ${options.map(([value, text]) => html`<option value=${value} .selected=${value === this.#filter[name]}>${text}</option>`)}
        </select></div>`;
    return html`<div class="row usage-filter">
      ${pick("provider", t.provider, t.everything, store.providers.map((one) => [one.id, one.label]))}
      ${pick("task", t.columns.task, t.everything, store.taskNames.map((one) => [one, taskName(words[language].tasks, one)]))}
      ${pick("outcome", t.columns.outcome, t.everything, [["error", t.failures]])}
    </div>`;
  }

  #drawList(): TemplateResult {
    const { language } = this.at;
    const t = requestTexts[language];
    const s = shell[language];
    if (this.#failure) {
      return html`<p class="fault" role="alert">${icon("alert")}${explain(this.#failure, language)}</p>
        <button @click=${() => this.#load()}>${s.retry}</button>`;
    }
    if (!this.#list) return skeleton(s.loading, 2);
    if (!this.#list.length) return html`<p class="muted" role="status">${this.#filter === ALL ? t.none : t.noneOf}</p>`;
    const { columns } = t;
    const head = (label: string, number = false) =>
      html`<th role="columnheader" scope="col" class=${number ? "number" : ""}>${label}</th>`;
    return html`<div class="table cards">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup"><tr role="row">
            ${head(columns.time)} ${head(columns.task)} ${head(columns.model)} ${head(columns.payer)}
            ${head(columns.tokens, true)} ${head(columns.cost, true)} ${head(columns.outcome)}
          </tr></thead>
          <tbody role="rowgroup">${this.#list.map((one) => this.#drawRow(one))}</tbody>
        </table>
      </div>
      ${this.#more
        ? html`<button class="usage-more" @click=${() => this.#load(true)}>${t.more}</button>`
        : nothing}`;
  }

  #drawRow(one: Logged): TemplateResult {
    const { format, language, store } = this.at;
    const t = requestTexts[language];
    const count = one.attempts.reduce((sum, attempt) => sum + tokensOf(attempt), 0);
    const estimated = one.attempts.some((attempt) => attempt.tokens_source === "estimated");
    const { columns } = t;
    return html`<tr role="row">
      <th role="rowheader" scope="row"><button class="plain" aria-haspopup="dialog" title=${format.dateTime(one.occurred_at)}
        @click=${() => this.#show(one)}>${format.relative(one.occurred_at)}</button></th>
      <td role="cell" data-label=${columns.task}>${one.task ? taskName(words[language].tasks, one.task) : "—"}</td>
      <td role="cell" class="usage-served" data-label=${columns.model}><p class="usage-model" title=${one.model}>${store.label(one.provider)} <span class="muted">${one.model}</span></p></td>
      <td role="cell" data-label=${columns.payer}>${payerMark(one.payer, shell[language])}</td>
      <td role="cell" class="number usage-count" data-label=${columns.tokens}>${estimated ? "≈ " : nothing}${format.number(count)}</td>
      <td role="cell" class="number usage-cost" data-label=${columns.cost}>${costText(one, format)}</td>
      <td role="cell" class="usage-outcome" data-label=${columns.outcome}><p>${this.#mark(one.outcome)}
        ${one.attempts.length > 1 ? html`<span class="muted small">${t.attempts(format.number(one.attempts.length))}</span>` : nothing}</p></td>
    </tr>`;
  }

  #mark(outcome: string): TemplateResult {
    const { language } = this.at;
    if (outcome === "ok") return pill(requestTexts[language].ok, "good");
    return pill(outcomes[language][outcome] ?? outcome, outcome === "client_gone" ? "plain" : "bad");
  }

  #drawDialog(one: Logged): TemplateResult {
    const { format, language } = this.at;
    const t = requestTexts[language];
    return dialog({
      id: "usage-request",
      title: t.open(format.dateTime(one.occurred_at)),
      closeLabel: shell[language].close,
      onClose: () => this.#show(null),
      wide: true,
      body: html`
        <dl class="usage-facts">
          <dt>${t.asked}</dt><dd class="mono">${one.requested_model}</dd>
          <dt>${t.operation}</dt><dd>${one.operation}${one.streamed ? `, ${t.streamed}` : nothing}</dd>
          <dt>${t.id}</dt><dd class="mono">${one.id}</dd>
          <dt>${t.whole}</dt><dd>${format.duration(one.duration_ms)}</dd>
          <dt>${t.columns.cost}</dt><dd>${costText(one, format)}
            ${one.cost_source && one.cost_microdollars !== null
              ? html`<span class="muted">(${(t.sources as Record<string, string>)[one.cost_source]})</span>`
              : nothing}</dd>
        </dl>
        <h3>${t.tried}</h3>
        <ol class="usage-attempts">${one.attempts.map((attempt, index) => this.#drawAttempt(attempt, index + 1))}</ol>`,
    });
  }

  /** By which price a call was computed. */
  #price(version: string): string {
    const { format, language } = this.at;
    const t = requestTexts[language];
    const [, model, since, factor] = OWN_PRICE.exec(version) ?? [];
    if (!model) return t.price(version);
    return t.ownPrice(model, since ? format.day(since, "long") : null, factor ? format.number(Number(factor)) : null);
  }

  #drawAttempt(one: Attempt, number: number): TemplateResult {
    const { format, language, store } = this.at;
    const t = requestTexts[language];
    const input = one.input_uncached + one.cache_read + one.cache_write;
    const n = (value: number) => format.number(value);
    const fact = (label: string, value: unknown) => (value ? html`<dt>${label}</dt><dd>${value}</dd>` : nothing);
    const sources = t.sources as Record<string, string>;
    const source = one.cost_source ? sources[one.cost_source] : null;
    const known = [source, one.price_version && one.cost_source !== "reported" ? this.#price(one.price_version) : null].filter(Boolean);
    return html`<li class="card">
      <div class="row spread">
        <h4>${n(number)}. ${store.label(one.provider)} <span class="muted">${one.model}</span></h4>
        <div class="row">
          ${one.fallback ? html`<span class="pill" title=${t.fallbackTitle}>${icon("arrow")}${t.fallback}</span>` : nothing}
          ${payerMark(one.payer, shell[language])}${this.#mark(one.outcome)}
        </div>
      </div>
      ${one.skipped.length
        ? html`<p class="small muted">${t.skipped}: ${one.skipped
            .map((hop) => `${store.label(hop.provider)} (${(skipped[language].reasons as Record<string, string>)[hop.reason] ?? hop.reason})`)
            .join("; ")}</p>`
        : nothing}
      <dl class="usage-facts small">
        ${fact(t.key, one.payer === "own" ? (one.credential_label ?? t.removed) : t.operatorKey)}
        ${fact(t.status, one.http_status)} ${fact(t.duration, format.duration(one.duration_ms))}
        ${fact(t.firstByte, one.first_byte_ms === null ? null : format.duration(one.first_byte_ms))}
        ${fact(
          t.columns.tokens,
          tokensOf(one) &&
            html`${t.tokens(n(input), n(one.cache_read), n(one.output_text + one.output_reasoning), n(one.output_reasoning))}
            ${one.tokens_source === "estimated" ? html`<span class="muted">(${t.estimated})</span>` : nothing}`,
        )}
        ${fact(
          t.columns.cost,
          one.cost_microdollars === null
            ? tokensOf(one) && t.unpriced
            : html`${format.money(one.cost_microdollars)} ${known.length ? html`<span class="muted">(${known.join("; ")})</span>` : nothing}`,
        )}
        ${fact(t.tier, one.service_tier)} ${fact(t.finish, one.finish_reason)} ${fact(t.providerId, one.provider_request_id)}
      </dl>
    </li>`;
  }
}

function tokensOf(one: Attempt): number {
  return one.input_uncached + one.cache_read + one.cache_write + one.output_text + one.output_reasoning;
}

/** What has tokens but no price is not free, whatever its refused attempts cost. */
function costText(one: Logged, format: PanelSurroundings["format"]): string {
  const unpriced = one.attempts.some((attempt) => tokensOf(attempt) && attempt.cost_microdollars === null);
  return format.money(unpriced && !one.cost_microdollars ? null : one.cost_microdollars);
}
