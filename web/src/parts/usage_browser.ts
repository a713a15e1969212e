/** Usage to look through: a range of days, what is split and counted, as tiles, bars and a table. */
import { html, nothing, type TemplateResult } from "lit";
import type { Surroundings } from "../core/view.js";
import type { UsageWords } from "../i18n/usage.js";
import { shell } from "../i18n/shell.js";
import { Chart, type ChartParts } from "./chart.js";
import { empty, saveFile, segments, skeleton } from "./controls.js";
import { failure } from "./failure.js";
import { icon } from "./icons.js";
import { lastDays, costOf, METRICS, toChart, today, type DayRange, type Metric, type Split, type UsageAnswer, type UsageRow } from "./usage_report.js";
import { UsageTable, type UsageTableParts } from "./usage_table.js";
import chartStyles from "./chart.css?inline";
import tableStyles from "./usage_table.css?inline";
import styles from "./usage_browser.css?inline";

export const usageStyles = chartStyles + tableStyles + styles;

const RANGES = ["1", "7", "30", "90", "custom"] as const;
type Range = (typeof RANGES)[number];
const MOST_DAYS = 731;
const DAY_MS = 86_400_000;

/** Whose usage it is, and how to speak of it. */
export interface UsageSource {
  path: "/api/usage" | "/api/admin/usage";
  /** What it can be split by, the first at the beginning. */
  splits: readonly Split[];
  words: () => UsageWords;
  /** A provider's name. */
  label: (provider: string) => string;
  /** Shows the requests behind a row of the table; null where that cannot be done for a split. */
  open?: (split: Split) => ((row: UsageRow) => void) | null;
  /** What else is loaded for the same days. */
  beside?: (days: DayRange, signal: AbortSignal) => Promise<void>;
}

/** One per view. Its styles are `usageStyles`. */
export class UsageBrowser {
  #range: Range = "30";
  #custom: DayRange = lastDays(30);
  #split: Split;
  #metric: Metric = "cost";

  /** By day and by nothing but the split; always loaded together. */
  #loaded: { byDay: UsageAnswer; inAll: UsageAnswer; split: Split } | null = null;
  #failure: unknown = null;
  #stop: AbortController | null = null;

  #chart: Chart;
  #table: UsageTable;
  #drawn: { for: readonly unknown[]; chart: ChartParts; table: UsageTableParts } | null = null;

  constructor(
    private readonly at: Surroundings,
    private readonly source: UsageSource,
  ) {
    this.#split = source.splits[0]!;
    this.#chart = new Chart(() => at.requestUpdate());
    this.#table = new UsageTable(() => at.requestUpdate());
  }

  /** Loads anew what is chosen. */
  open(): void {
    void this.#load();
  }

  /** Gives up what is being loaded. */
  close(): void {
    this.#stop?.abort();
    this.#stop = null;
  }

  render(): TemplateResult {
    const t = this.source.words();
    return html`<div class="stack usage">
      ${this.#drawFilter(t)}
      ${this.#failure ? failure(this.#failure, this.at.language, () => this.open()) : this.#loaded ? this.#drawLoaded(t) : skeleton(shell[this.at.language].loading, 4)}
    </div>`;
  }

  /** Whether its height is known: it shows something, be it a failure. */
  get settled(): boolean {
    return Boolean(this.#loaded ?? this.#failure);
  }

  /** What is looked at, both days included. */
  get days(): DayRange {
    return this.#range === "custom" ? this.#custom : lastDays(Number(this.#range));
  }

  get #badRange(): boolean {
    const { from, to } = this.days;
    const span = (Date.parse(to) - Date.parse(from)) / DAY_MS;
    return !(span >= 0 && span <= MOST_DAYS);
  }

  async #load(): Promise<void> {
    if (this.#badRange) return this.at.requestUpdate();
    this.#stop?.abort();
    const { signal } = (this.#stop = new AbortController());
    const split = this.#split;
    const ask = (keys: string[]) =>
      this.at.api.get(this.source.path, { query: { ...this.days, group_by: keys }, signal });
    this.at.requestUpdate();
    try {
      // What a key is called says little without its provider.
      const keys = split === "payer" ? ["payer"] : split === "credential" ? [split, "provider", "payer"] : [split, "payer"];
      const [byDay, inAll] = await Promise.all([
        ask(["day", ...keys]),
        ask(keys),
        this.source.beside?.(this.days, signal),
      ]);
      this.#loaded = { byDay, inAll, split };
      this.#failure = null;
    } catch (error) {
      if (signal.aborted) return;
      if (this.#loaded) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.#stop = null;
    this.at.requestUpdate();
  }

  #drawFilter(t: UsageWords): TemplateResult {
    const { from, to } = this.#custom;
    const pick = (label: string, id: string, values: readonly string[], names: Record<string, string>, chosen: string, set: (value: string) => void) =>
      html`<div class="usage-pick"><label for=${id}>${label}</label>
        <select id=${id} @change=${(event: Event) => (set((event.target as HTMLSelectElement).value), void this.#load())}>
          ${values.map((one) => html`<option value=${one} .selected=${one === chosen}>${names[one]}</option>`)}
        </select></div>`;
    const day = (label: string, id: string, value: string, set: (value: string) => void) =>
      html`<div class="usage-pick"><label for=${id}>${label}</label>
        <input type="date" id=${id} required max=${today()} .value=${value} aria-describedby="usage-range-error"
          @change=${(event: Event) => (set((event.target as HTMLInputElement).value), void this.#load())}></div>`;
    return html`<div class="row usage-filter">
      ${pick(t.range, "usage-range", RANGES, t.ranges, this.#range, (value) => {
        if (value === "custom") this.#custom = this.days;
        this.#range = value as Range;
      })}
      ${this.#range === "custom"
        ? html`${day(t.from, "usage-from", from, (value) => (this.#custom = { from: value, to }))}
            ${day(t.to, "usage-to", to, (value) => (this.#custom = { from, to: value }))}`
        : nothing}
      ${pick(t.split, "usage-split", this.source.splits, t.splits, this.#split, (value) => (this.#split = value as Split))}
      <div class="row usage-files">
        <button ?disabled=${!this.#loaded} @click=${() => void this.#save("csv")}>${icon("download")}CSV</button>
        <button ?disabled=${!this.#loaded} @click=${() => void this.#save("json")}>${icon("download")}JSON</button>
      </div>
      <p class="fault" id="usage-range-error" role="alert">${this.#badRange ? html`${icon("alert")}${t.badRange}` : nothing}</p>
    </div>`;
  }

  #drawLoaded(t: UsageWords): TemplateResult {
    const { byDay, inAll, split } = this.#loaded!;
    if (!inAll.total.requests) {
      return empty(
        t.nothing,
        t.nothingYet,
        this.#range === "90" || this.#range === "custom"
          ? nothing
          : html`<button @click=${() => ((this.#range = "90"), void this.#load())}>${t.longer}</button>`,
      );
    }
    // Made once per answer, metric and language: moving over the bars draws nothing of it again.
    const made = [this.#loaded, this.#metric, this.at.format];
    if (!this.#drawn || made.some((one, index) => one !== this.#drawn!.for[index])) {
      const label = (id: string) => (split === "user" ? id : this.source.label(id));
      const { format } = this.at;
      this.#drawn = {
        for: made,
        chart: toChart(byDay, split, this.#metric, t, format, label),
        table: { answer: inAll, split, words: t, format, label, open: this.source.open?.(split) ?? undefined },
      };
    }
    const { chart, table } = this.#drawn;
    return html`
      <div class="stack" aria-busy=${this.#stop ? "true" : "false"}>
        ${this.#drawTiles(t, inAll)}
        <div class="card stack">
          <div class="row spread">
            ${segments(t.metric, "usage-metric", METRICS.map((one) => ({ value: one, label: t.metrics[one] })), this.#metric, (one) => {
              this.#metric = one;
              this.at.requestUpdate();
            })}
            <span class="muted small">${t.utc}</span>
          </div>
          ${chart.series.length ? this.#chart.render(chart) : html`<p class="muted usage-none">${t.nothingOf}</p>`}
        </div>
        <div>${this.#table.render(table)}</div>
      </div>`;
  }

  #drawTiles(t: UsageWords, { rows, total }: UsageAnswer): TemplateResult {
    const { format } = this.at;
    const of = (payer: string) => {
      const paid = rows.filter((row) => row.payer === payer);
      const priced = paid.filter((row) => costOf(row) !== null);
      return {
        requests: paid.reduce((sum, row) => sum + row.requests, 0),
        // Nothing was asked: that is free. Nothing has a price: that is unknown.
        cost: paid.length && !priced.length ? null : priced.reduce((sum, row) => sum + row.cost_microdollars!, 0),
      };
    };
    const [own, shared] = [of("own"), of("shared")];
    const tile = (label: string, value: string, hint: string, estimated = false) =>
      html`<div class="card usage-tile"><dt>${label}</dt>
        <dd><b>${value}</b>${estimated && value !== "—" ? html` <abbr class="muted" title=${t.estimatedTitle}>${t.estimated}</abbr>` : nothing}</dd>
        <dd class="muted small">${hint}</dd></div>`;
    return html`<dl class="usage-tiles">
      ${tile(t.ownCost, format.money(own.cost), t.ownCostHint, true)}
      ${tile(t.sharedCost, format.money(shared.cost), t.sharedCostHint, true)}
      ${tile(t.metrics.requests, format.number(total.requests), t.requestsHint(format.number(own.requests), format.number(shared.requests)))}
      ${tile(t.errorShare, format.percent(total.errors / total.requests), total.errors ? t.errorsHint(format.number(total.errors)) : t.nothingOf)}
    </dl>`;
  }

  /** What is shown, by day, as the server writes it. */
  async #save(kind: "csv" | "json"): Promise<void> {
    const { start, end, group_by } = this.#loaded!.byDay;
    try {
      const { blob, name } = await this.at.api.download(`${this.source.path}.${kind}`, { from: start, to: end, group_by });
      saveFile(blob, name);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }
}
