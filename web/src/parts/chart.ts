/**
 * Stacked bars over time. All lengths are percentages of an SVG without a view box: the width is the container's, and
 * no text is stretched. The bars are one picture; a cursor over them, moved by pointer or arrow keys, reads them out.
 */
import { html, nothing, svg, type TemplateResult } from "lit";
import { guard } from "lit/directives/guard.js";

export interface Series {
  name: string;
  /** Which colour: 1 to 7, and 8 for the rest. */
  tone: number;
  /** The part of the same thing that somebody else pays. */
  hatched: boolean;
  /** One per time; all are zero or more. */
  values: readonly number[];
}

export interface ChartParts {
  times: readonly { short: string; long: string }[];
  /** From the bottom of the stack to its top. */
  series: readonly Series[];
  /** What is hatched, or null where nothing is, or where the names say it. */
  hatch: string | null;
  /** Only whole numbers on the axis. */
  whole: boolean;
  /** A number for people. */
  value: (value: number) => string;
  /** A number on the axis, whose lines are `step` apart. */
  tick: (value: number, step: number) => string;
  words: { summary: string; cursor: string; table: string; time: string; total: string };
}

const LINES = 4;
const LABELS = 7;
const WIDEST_PERCENT = 8;

/** The distance of round lines (1, 2 or 5 times a power of ten) so that at most four reach the highest value. */
export function findStep(highest: number, whole: boolean): number {
  const rough = Math.max(highest, Number.MIN_VALUE) / LINES;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999_999) ?? 10 * power;
  return whole ? Math.max(1, step) : step;
}

export class Chart {
  #at: number | null = null;
  #asTable = false;

  constructor(private readonly redraw: () => void) {}

  /** `parts` is drawn anew when it is another object. */
  render(parts: ChartParts): TemplateResult {
    const { times, words } = parts;
    const totals = times.map((_, index) => parts.series.reduce((sum, one) => sum + one.values[index]!, 0));
    const highest = Math.max(...totals);
    const step = findStep(highest, parts.whole);
    const lines = Math.max(1, Math.ceil(highest / step - 1e-6));
    const at = this.#at === null ? null : Math.min(this.#at, times.length - 1);
    const shown = at ?? times.length - 1;
    const read = readOut(parts, shown, totals[shown]!);
    return html`<figure class="chart">
      ${guard([parts], () => drawLegend(parts))}
      <div class="chart-plot">
        <div class="chart-axis" aria-hidden="true">
          ${Array.from({ length: lines + 1 }, (_, n) => html`<span>${parts.tick((lines - n) * step, step)}</span>`)}
        </div>
        <div class="chart-area">
          <svg class="chart-bars" role="img" aria-label=${words.summary}>
            <defs>
              <pattern id="chart-hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <path d="M0 0v5"/>
              </pattern>
            </defs>
            ${at === null ? nothing : drawBand(at, times.length)}
            ${guard([parts], () => [drawLines(lines), drawBars(parts, lines * step)])}
          </svg>
          <div class="chart-cursor" role="slider" tabindex="0" aria-label=${words.cursor} aria-valuemin="1"
            aria-valuemax=${times.length} aria-valuenow=${shown + 1}
            aria-valuetext=${`${read.time}: ${read.total}. ${read.rows.map((row) => `${row.name} ${row.value}`).join(", ")}`}
            @pointerdown=${this.#onPoint} @pointermove=${this.#onPoint} @pointerleave=${this.#onLeave}
            @focus=${this.#onFocus} @blur=${() => this.#look(null)} @keydown=${this.#onKey}>
            ${at === null ? nothing : drawTip(read, at < times.length / 2)}
          </div>
        </div>
        <div class="chart-times" aria-hidden="true">${guard([parts], () => drawTimes(parts))}</div>
      </div>
      <details class="chart-data" @toggle=${this.#onToggle}>
        <summary>${words.table}</summary>
        ${this.#asTable ? guard([parts], () => drawTable(parts, totals)) : nothing}
      </details>
    </figure>`;
  }

  #look(at: number | null, cursor?: HTMLElement): void {
    if (at === this.#at) return;
    this.#at = at;
    const count = Number(cursor?.getAttribute("aria-valuemax"));
    if (at !== null) cursor?.style.setProperty("--chart-at", `${((at + 0.5) / count) * 100}%`);
    this.redraw();
  }

  #onPoint = (event: PointerEvent): void => {
    const cursor = event.currentTarget as HTMLElement;
    const { left, width } = cursor.getBoundingClientRect();
    const share = (event.clientX - left) / width;
    const count = Number(cursor.getAttribute("aria-valuemax"));
    const at = Math.floor((isRightToLeft(cursor) ? 1 - share : share) * count);
    this.#look(Math.max(0, Math.min(count - 1, at)), cursor);
  };

  #onLeave = (event: PointerEvent): void => {
    // A finger leaves when it is lifted: what it pointed at stays until the next touch elsewhere.
    if (event.pointerType !== "touch") this.#look(null);
  };

  #onFocus = (event: FocusEvent): void => {
    const cursor = event.currentTarget as HTMLElement;
    if (cursor.matches(":focus-visible")) this.#look(Number(cursor.getAttribute("aria-valuenow")) - 1, cursor);
  };

  #onKey = (event: KeyboardEvent): void => {
    const cursor = event.currentTarget as HTMLElement;
    const last = Number(cursor.getAttribute("aria-valuemax")) - 1;
    const at = this.#at ?? last;
    const onward = isRightToLeft(cursor) ? -1 : 1;
    const moves: Record<string, number> = {
      ArrowRight: at + onward,
      ArrowLeft: at - onward,
      ArrowUp: at + 1,
      ArrowDown: at - 1,
      PageUp: at + 7,
      PageDown: at - 7,
      Home: 0,
      End: last,
    };
    const next = moves[event.key];
    if (next !== undefined) {
      event.preventDefault();
      this.#look(Math.max(0, Math.min(last, next)), cursor);
    } else if (event.key === "Escape" && this.#at !== null) {
      event.stopPropagation();
      this.#look(null);
    }
  };

  #onToggle = (event: Event): void => {
    this.#asTable = (event.currentTarget as HTMLDetailsElement).open;
    this.redraw();
  };
}

interface Reading {
  time: string;
  total: string;
  rows: { name: string; value: string; tone: number; hatched: boolean }[];
}

function isRightToLeft(element: Element): boolean {
  return getComputedStyle(element).direction === "rtl";
}

function nameOf(one: Series, hatch: string | null): string {
  return one.hatched && hatch ? `${one.name} (${hatch})` : one.name;
}

function readOut(parts: ChartParts, index: number, total: number): Reading {
  const rows = parts.series
    .filter((one) => one.values[index]! > 0)
    .map((one) => ({ ...one, name: nameOf(one, parts.hatch), value: parts.value(one.values[index]!) }))
    .reverse();
  return { time: parts.times[index]!.long, total: parts.value(total), rows };
}

function drawBand(at: number, count: number): TemplateResult {
  const width = 100 / count;
  return svg`<rect class="chart-band" x="${at * width}%" y="0" width="${width}%" height="100%"/>`;
}

function drawLines(count: number): TemplateResult[] {
  return Array.from({ length: count + 1 }, (_, n) => {
    const y = `${(n / count) * 100}%`;
    return svg`<line class="chart-line" x1="0" x2="100%" y1=${y} y2=${y}/>`;
  });
}

function drawBars({ times, series }: ChartParts, top: number): TemplateResult[] {
  const band = 100 / times.length;
  const width = Math.min(band * 0.74, WIDEST_PERCENT);
  const drawn: TemplateResult[] = [];
  times.forEach((_, index) => {
    const x = `${index * band + (band - width) / 2}%`;
    let base = 100;
    for (const one of series) {
      const height = (one.values[index]! / top) * 100;
      if (!height) continue;
      base -= height;
      const bar = (kind: string) =>
        svg`<rect class=${kind} x=${x} y="${base}%" width="${width}%" height="${height}%"/>`;
      drawn.push(bar(`chart-bar tone-${one.tone}`));
      if (one.hatched) drawn.push(bar("chart-hatched"));
    }
  });
  return drawn;
}

function drawSwatch(tone: number, hatched: boolean): TemplateResult {
  return html`<svg class="chart-swatch" aria-hidden="true">
    ${tone ? svg`<rect class="chart-bar tone-${tone}" width="100%" height="100%" rx="2"/>` : nothing}
    ${hatched ? svg`<rect class="chart-hatched ${tone ? "" : "alone"}" width="100%" height="100%" rx="2"/>` : nothing}
  </svg>`;
}

function drawLegend({ series, hatch }: ChartParts): TemplateResult {
  const named = new Map(series.map((one) => [one.tone, one]));
  const anyHatched = series.some((one) => one.hatched);
  return html`<ul class="chart-legend">
    ${[...named.values()].reverse().map(
      (one) => html`<li>${drawSwatch(one.tone, one.hatched && !hatch)}<span title=${one.name}>${one.name}</span></li>`,
    )}
    ${hatch && anyHatched ? html`<li>${drawSwatch(0, true)}<span>${hatch}</span></li>` : nothing}
  </ul>`;
}

function drawTimes({ times }: ChartParts): TemplateResult[] {
  const every = Math.ceil(times.length / LABELS);
  // Counted from the end, because the latest is what is looked for; narrow panels show every second label.
  return times.map((time, index) => {
    const back = (times.length - 1 - index) / every;
    return html`<span>${Number.isInteger(back) ? html`<b class=${back % 2 ? "odd" : ""}>${time.short}</b>` : nothing}</span>`;
  });
}

function drawTip(read: Reading, before: boolean): TemplateResult {
  return html`<div class="chart-tip ${before ? "after" : "before"}">
    <p><b>${read.time}</b><b class="number">${read.total}</b></p>
    ${read.rows.map(
      (row) =>
        html`<p>${drawSwatch(row.tone, row.hatched)}<span>${row.name}</span><span class="number">${row.value}</span></p>`,
    )}
  </div>`;
}

function drawTable({ times, series, hatch, value, words }: ChartParts, totals: readonly number[]): TemplateResult {
  return html`<div class="table" tabindex="0" role="region" aria-label=${words.table}>
    <table>
      <caption class="hidden">${words.summary}</caption>
      <thead>
        <tr>
          <th scope="col">${words.time}</th>
          ${series.map((one) => html`<th scope="col" class="number">${nameOf(one, hatch)}</th>`)}
          <th scope="col" class="number">${words.total}</th>
        </tr>
      </thead>
      <tbody>
        ${times.map(
          (time, index) => html`<tr>
            <th scope="row">${time.long}</th>
            ${series.map((one) => html`<td class="number">${value(one.values[index]!)}</td>`)}
            <td class="number"><b>${value(totals[index]!)}</b></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
