/** What was used as a table, sorted by the column that the person chose. */
import { html, nothing, type TemplateResult } from "lit";
import { guard } from "lit/directives/guard.js";
import type { Format } from "../core/format.js";
import type { UsageWords } from "../i18n/usage.js";
import { payerMark } from "./controls.js";
import { icon } from "./icons.js";
import { costOf, inputTokens, nameRow, outputTokens, type Split, type UsageAnswer, type UsageRow } from "./usage_report.js";

export interface UsageTableParts {
  /** Summed by `split` and by who pays. */
  answer: UsageAnswer;
  split: Split;
  words: UsageWords;
  format: Format;
  /** The name of a provider or a user. */
  label: (id: string) => string;
  /** Shows the requests behind a row, where that can be done. */
  open?: ((row: UsageRow) => void) | undefined;
}

interface Column {
  id: string;
  label: string;
  title?: string;
  /** What the column sorts by; null comes last. */
  key: (row: UsageRow) => number | string | null;
  cell: (row: UsageRow) => unknown;
}

export class UsageTable {
  #sort = { id: "cost", down: true };

  constructor(private readonly redraw: () => void) {}

  /** `parts` is drawn anew when it is another object. */
  render(parts: UsageTableParts): TemplateResult {
    return html`${guard([parts, this.#sort], () => this.#draw(parts))}`;
  }

  #draw(parts: UsageTableParts): TemplateResult {
    const { answer, split, words } = parts;
    const columns = listColumns(parts);
    const { id, down } = this.#sort;
    const { key } = columns.find((one) => one.id === id) ?? columns[0]!;
    const rows = [...answer.rows].sort((a, b) => compare(key(a), key(b), down));
    const [first, ...numbers] = columns as [Column, ...Column[]];
    return html`<div class="table usage-table">
        <table>
          <caption class="hidden">${words.caption}</caption>
          <thead>
            <tr>${columns.map((one) => this.#drawHead(one, one !== first && one.id !== "payer"))}</tr>
          </thead>
          <tbody>
            ${rows.map(
              (row) => html`<tr>
                <th scope="row" title=${nameRow(row, split, words, parts.label)}>${first.cell(row)}</th>
                ${numbers.map((one) => html`<td class=${one.id === "payer" ? "" : "number"}>${one.cell(row)}</td>`)}
              </tr>`,
            )}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">${words.total}</th>
              ${numbers.map((one) => html`<td class="number">${one.id === "payer" ? nothing : one.cell(answer.total)}</td>`)}
            </tr>
          </tfoot>
        </table>
      </div>
      <div class="usage-notes muted small">
        ${answer.total.unpriced_requests
          ? html`<p>${words.unpriced(parts.format.locale, answer.total.unpriced_requests)}</p>`
          : nothing}
        ${answer.total.estimated_requests
          ? html`<p>${words.guessed(parts.format.locale, answer.total.estimated_requests)}</p>`
          : nothing}
        ${answer.exact || !answer.rows.some((row) => row.p50_duration_ms !== null) ? nothing : html`<p>${words.rounded}</p>`}
      </div>`;
  }

  #drawHead(column: Column, number: boolean): TemplateResult {
    const { id, down } = this.#sort;
    const sorted = column.id === id;
    return html`<th
      scope="col"
      class=${number ? "number" : ""}
      aria-sort=${sorted ? (down ? "descending" : "ascending") : nothing}
    >
      <button
        class="plain"
        title=${column.title ?? nothing}
        @click=${() => {
          this.#sort = { id: column.id, down: sorted ? !down : number };
          this.redraw();
        }}
      >
        ${column.label}${sorted ? icon(down ? "down" : "up") : nothing}
      </button>
    </th>`;
  }
}

function listColumns({ answer, split, words, format, label, open }: UsageTableParts): Column[] {
  const { columns: names, titles, metrics } = words;
  const measured = answer.rows.some((row) => row.p50_duration_ms !== null);
  /** A number, and below it the part of it that is worth telling. */
  const count = (
    id: "input" | "output",
    key: (row: UsageRow) => number,
    part: (row: UsageRow) => number,
    say: (part: string) => string,
  ): Column => ({
    id,
    label: names[id],
    title: titles[id],
    key,
    cell: (row) => stacked(format.number(key(row)), part(row) ? say(format.number(part(row))) : ""),
  });
  const name = (row: UsageRow) => nameRow(row, split, words, label);
  const errorShare = (row: UsageRow) => (row.requests ? row.errors / row.requests : 0);
  const fallbackShare = (row: UsageRow) => (row.requests ? (row.fallback_requests ?? 0) / row.requests : 0);
  const fallbacks: Column = {
    id: "fallbacks",
    label: names.fallbacks,
    title: titles.fallbacks,
    key: fallbackShare,
    cell: (row) => format.percent(fallbackShare(row)),
  };
  /** Half of the calls were faster than the first number; below it, what 95 and 99 of 100 were faster than. */
  const slow = (half: number | null, most: number | null, nearly: number | null) =>
    stacked(
      format.duration(half),
      most === null ? "" : words.faster("95", format.duration(most)),
      nearly === null ? "" : words.faster("99", format.duration(nearly)),
    );
  const percentiles: Column = {
    id: "duration",
    label: names.duration,
    title: titles.percentiles,
    key: (row) => row.p50_duration_ms,
    cell: (row) => slow(row.p50_duration_ms, row.p95_duration_ms, row.p99_duration_ms),
  };
  const mean: Column = {
    id: "duration",
    label: names.duration,
    title: titles.duration,
    key: (row) => row.mean_duration_ms,
    cell: (row) =>
      stacked(format.duration(row.mean_duration_ms), row.mean_first_byte_ms === null ? "" : words.firstByte(format.duration(row.mean_first_byte_ms))),
  };
  const firstByte: Column = {
    id: "firstByte",
    label: names.firstByte,
    title: titles.firstByte,
    key: (row) => row.p50_first_byte_ms,
    cell: (row) => slow(row.p50_first_byte_ms, row.p95_first_byte_ms, row.p99_first_byte_ms),
  };
  const named = (row: UsageRow): unknown => {
    if (split === "payer") return payerMark(row.payer!, words);
    if (!open || (split === "task" && !row.task)) return html`<span class="usage-name">${name(row)}</span>`;
    return html`<button class="plain usage-name" title=${words.showRequests} @click=${() => open(row)}>${name(row)}</button>`;
  };
  return [
    {
      id: "name",
      label: words.splits[split],
      key: (row) => name(row).toLocaleLowerCase(),
      cell: named,
    },
    ...(split === "payer"
      ? []
      : [{ id: "payer", label: names.payer, key: (row: UsageRow) => row.payer, cell: (row: UsageRow) => payerMark(row.payer!, words) }]),
    {
      id: "cost",
      label: `${metrics.cost} (${words.estimated})`,
      title: words.estimatedTitle,
      key: costOf,
      cell: (row) => cost(row, words, format, row !== answer.total),
    },
    { id: "requests", label: metrics.requests, key: (row) => row.requests, cell: (row) => format.number(row.requests) },
    count("input", inputTokens, (row) => row.cache_read, words.cachedPart),
    count("output", outputTokens, (row) => row.output_reasoning, words.reasoningPart),
    { id: "errors", label: metrics.errors, title: titles.errors, key: errorShare, cell: (row) => format.percent(errorShare(row)) },
    ...(measured ? [fallbacks, percentiles, firstByte] : [mean]),
  ];
}

/** A number, and below it what is worth telling beside it. */
function stacked(first: string, ...others: string[]): unknown {
  return html`${first}${others.map((one) => (one ? html`<small>${one}</small>` : nothing))}`;
}

/** Money, and how many requests it leaves out: what has no price is never shown as free. */
function cost(row: UsageRow, words: UsageWords, format: Format, mark = true): unknown {
  const known = costOf(row);
  const money = format.money(known);
  if (!mark) return money;
  const beside = [
    row.unpriced_requests && known !== null ? words.unpricedShort(format.number(row.unpriced_requests)) : "",
    row.estimated_requests ? words.guessedShort(format.number(row.estimated_requests)) : "",
  ];
  return stacked(money, beside.filter(Boolean).join(", "));
}

function compare(a: number | string | null, b: number | string | null, down: boolean): number {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  const order = typeof a === "string" ? a.localeCompare(b as string) : a - (b as number);
  return down ? -order : order;
}
