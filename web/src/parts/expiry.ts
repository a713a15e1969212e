/** When a key stops being used: never, after a while, or at the end of a day. */
import { html, nothing, type TemplateResult } from "lit";
import type { Format } from "../core/format.js";
import type { keys } from "../i18n/keys.js";
import { field } from "./controls.js";

type Words = (typeof keys)["en"];

const SPANS = [
  [30, "minute", 60],
  [1, "day", 86_400],
  [7, "day", 86_400],
  [30, "day", 86_400],
  [90, "day", 86_400],
] as const;

/** `choice` is "keep", "never", "day" or a number of seconds; `day` is the day for "day" (`2030-01-31`). */
export interface Expiry {
  choice: string;
  day: string;
}

/** The choice with which a dialog begins; what is stored is kept unless somebody changes it. */
export function beginExpiry(stored: string | null): Expiry {
  return { choice: stored ? "keep" : "never", day: stored?.slice(0, 10) ?? "" };
}

/** The moment for the server; null is never. */
export function momentOf(expiry: Expiry, stored: string | null, format: Format): string | null {
  if (expiry.choice === "keep") return stored;
  if (expiry.choice === "never") return null;
  if (expiry.choice === "day") return format.endOfDay(expiry.day);
  return new Date(Date.now() + Number(expiry.choice) * 1000).toISOString();
}

/** Whether a day was promised and none was chosen. */
export function lacksDay(expiry: Expiry): boolean {
  return expiry.choice === "day" && !expiry.day;
}

/** @param change draws anew with another choice */
export function expiryField(
  t: Words,
  format: Format,
  expiry: Expiry,
  stored: string | null,
  change: (expiry: Expiry) => void,
  error: string | null = null,
): TemplateResult {
  const options = [
    ...(stored ? [["keep", t.expiryKeep(format.dateTime(stored))]] : []),
    ["never", t.expiryNever],
    ...SPANS.map(([amount, unit, seconds]) => [String(amount * seconds), format.ahead(amount, unit)]),
    ["day", t.expiryDay],
  ] as const;
  return html`${field({
    id: "expires",
    label: t.expiry,
    hint: expiry.choice === "day" ? nothing : t.expiryHint,
    error: expiry.choice === "day" ? null : error,
    control: (id, describedBy) => html`<select
      id=${id}
      aria-describedby=${describedBy}
      @change=${(event: Event) => change({ ...expiry, choice: (event.target as HTMLSelectElement).value })}
    >
      ${options.map(([value, label]) => html`<option value=${value!} .selected=${value === expiry.choice}>${label}</option>`)}
    </select>`,
  })}
  ${expiry.choice === "day"
    ? field({
        id: "expires-day",
        label: t.expiryLastDay,
        hint: t.expiryHint,
        error,
        control: (id, describedBy) => html`<input
          id=${id}
          type="date"
          required
          aria-describedby=${describedBy}
          min=${new Date().toISOString().slice(0, 10)}
          .value=${expiry.day}
          @change=${(event: Event) => change({ ...expiry, day: (event.target as HTMLInputElement).value })}
        />`,
      })
    : nothing}`;
}
