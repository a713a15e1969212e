/** Amounts as people type them: dollars here, whole micro-dollars for the server. */

import { groupSign } from "./whole.js";

const MICRO = 1_000_000;
/** A billion dollars, as the server has it. */
export const MOST_DOLLARS = 1_000_000_000;

/** What a field for money holds: "much" is more than the server takes. */
export type Typed = number | null | "bad" | "much";

/**
 * Micro-dollars; null for an empty field. A lone separator before three digits is what it is in the person's language
 * (a thousand, or a thousandth); everything else is clear.
 */
export function readMoney(typed: string, locale: string): Typed {
  const text = typed.replace(/[\s$]|USD|US/gi, "");
  if (!text) return null;
  if (!/^\d[\d.,’']*$|^[.,]\d+$/.test(text)) return "bad";
  const last = Math.max(text.lastIndexOf("."), text.lastIndexOf(","));
  const sign = text[last] ?? "";
  const alone = text.split(/[.,’']/).length === 2;
  const decimals = text.length - last - 1;
  const thousands = sign === "" || (decimals === 3 && (alone ? sign === groupSign(locale) : !oneOfEach(text)));
  const whole = (thousands ? text : text.slice(0, last)).replace(/\D/g, "");
  const rest = thousands ? "" : text.slice(last + 1);
  if (rest.length > 6 || (!thousands && text.slice(0, last).includes(sign))) return "bad";
  const amount = Number(whole || "0") * MICRO + Number(rest.padEnd(6, "0"));
  return amount <= MOST_DOLLARS * MICRO ? amount : "much";
}

/** For a field: "12.5", in the person's digits and without a sign for groups. */
export function writeMoney(microdollars: number | null, locale: string): string {
  if (microdollars === null) return "";
  return new Intl.NumberFormat(locale, {
    useGrouping: false,
    minimumFractionDigits: microdollars % MICRO ? 2 : 0,
    maximumFractionDigits: 6,
    numberingSystem: "latn",
  }).format(microdollars / MICRO);
}

/** "1,234.567" has one kind for thousands and another for the rest. */
function oneOfEach(text: string): boolean {
  return text.includes(".") && text.includes(",");
}
