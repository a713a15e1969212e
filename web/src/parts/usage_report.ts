/** What was used, as numbers: ranges of UTC days, what is counted, and rows turned into series of a chart. */
import type { components } from "../api/schema.js";
import type { Format } from "../core/format.js";
import type { UsageWords } from "../i18n/usage.js";
import type { ChartParts, Series } from "./chart.js";

export type UsageAnswer = components["schemas"]["UsageOut"];
export type UsageRow = components["schemas"]["UsageRowOut"];

export const METRICS = ["cost", "tokens", "requests", "errors"] as const;
export type Metric = (typeof METRICS)[number];
export type Split = "user" | "provider" | "model" | "task" | "credential" | "payer";

/** Both days are included. */
export interface DayRange {
  from: string;
  to: string;
}

const DAY_MS = 86_400_000;
const TONES = 7;
const OTHERS = 8;
// More bars than this cannot be told apart: beyond it, months are counted.
const MOST_DAYS = 92;

/** Today, where days are counted: in UTC. */
export function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** The last days, today included. */
export function lastDays(count: number): DayRange {
  return { from: new Date(Date.now() - (count - 1) * DAY_MS).toISOString().slice(0, 10), to: today() };
}

export function inputTokens(row: UsageRow): number {
  return row.input_uncached + row.cache_read + row.cache_write;
}

export function outputTokens(row: UsageRow): number {
  return row.output_text + row.output_reasoning;
}

/** Null where nothing is known: refused calls cost nothing, but they do not make the unpriced ones free. */
export function costOf(row: UsageRow): number | null {
  return row.unpriced_requests && !row.cost_microdollars ? null : row.cost_microdollars;
}

export function measure(row: UsageRow, metric: Metric): number {
  if (metric === "cost") return row.cost_microdollars ?? 0;
  if (metric === "tokens") return inputTokens(row) + outputTokens(row);
  return row[metric];
}

/** A number of this kind for people. */
export function say(metric: Metric, value: number, format: Format): string {
  return metric === "cost" ? format.money(value) : format.number(value);
}

/** What a row is about, in words; `label` gives providers and users their names. */
export function nameRow(row: UsageRow, split: Split, words: UsageWords, label: (id: string) => string): string {
  if (split === "payer") return row.payer === "own" ? words.own : words.shared;
  if (split === "task") return row.task ? ((words.tasks as Record<string, string>)[row.task] ?? row.task) : words.noTask;
  if (split === "credential") {
    const key = row.payer === "shared" ? words.operatorKey : (row.credential_label ?? words.removedKey);
    return `${label(row.provider ?? "—")} · ${key}`;
  }
  const id = split === "user" ? row.user_id : row[split];
  return split === "model" ? (id ?? "—") : label(id ?? "—");
}

/** Rows by day, split and payer as what a chart draws. */
export function toChart(
  answer: UsageAnswer,
  split: Split,
  metric: Metric,
  words: UsageWords,
  format: Format,
  label: (id: string) => string,
): ChartParts {
  const days = listDays(answer.start, answer.end);
  const byMonth = days.length > MOST_DAYS;
  const bins = [...new Set(days.map((day) => (byMonth ? day.slice(0, 7) : day)))];
  const places = new Map(bins.map((bin, index) => [bin, index]));
  const groups = new Map<string, { total: number; own: number[]; shared: number[] }>();
  for (const row of answer.rows) {
    const name = nameRow(row, split, words, label);
    let group = groups.get(name);
    if (!group) groups.set(name, (group = { total: 0, own: bins.map(() => 0), shared: bins.map(() => 0) }));
    const place = places.get(byMonth ? row.day!.slice(0, 7) : row.day!);
    if (place === undefined) continue;
    const amount = measure(row, metric);
    group.total += amount;
    group[row.payer === "own" ? "own" : "shared"][place]! += amount;
  }
  const series = toSeries([...groups].filter(([, group]) => group.total > 0), words.others, bins.length);
  const total = answer.rows.reduce((sum, row) => sum + measure(row, metric), 0);
  return {
    times: bins.map((bin) =>
      byMonth
        ? { short: format.month(bin), long: format.month(bin, "long") }
        : { short: format.day(bin), long: format.day(bin, "long") },
    ),
    series,
    hatch: split === "payer" ? null : words.shared,
    whole: metric !== "cost",
    value: (value) => say(metric, value, format),
    tick: (value, step) => (metric === "cost" ? format.moneyTick(value, step) : format.compact(value)),
    words: {
      summary: words.summary(
        words.metrics[metric],
        format.day(answer.start, "long"),
        format.day(answer.end, "long"),
        say(metric, total, format),
        series.findLast((one) => one.tone !== OTHERS)?.name ?? null,
      ),
      cursor: words.cursor,
      table: words.asTable,
      time: byMonth ? words.month : words.day,
      total: words.total,
    },
  };
}

type Group = [string, { total: number; own: number[]; shared: number[] }];

/** The seven largest and the rest, the largest on top of the stack, each with what is shared on top of what is own. */
function toSeries(groups: Group[], others: string, length: number): Series[] {
  groups.sort((a, b) => b[1].total - a[1].total);
  const large = groups.slice(0, TONES);
  const rest = groups.slice(TONES);
  // Colours follow the alphabet: they stay when the order of the amounts changes.
  const names = large.map(([name]) => name).sort();
  const toned = large.map(([name, group]) => ({ name, tone: names.indexOf(name) + 1, ...group }));
  if (rest.length) {
    const sum = (of: "own" | "shared") =>
      Array.from({ length }, (_, index) => rest.reduce((all, [, group]) => all + group[of][index]!, 0));
    toned.push({ name: others, tone: OTHERS, total: 0, own: sum("own"), shared: sum("shared") });
  }
  return toned
    .reverse()
    .flatMap(({ name, tone, own, shared }) => [
      { name, tone, hatched: false, values: own },
      { name, tone, hatched: true, values: shared },
    ])
    .filter((one) => one.values.some(Boolean));
}

function listDays(from: string, to: string): string[] {
  const days: string[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += DAY_MS) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}
