/** Whole numbers as people type them. */

/** What a field for a whole number holds. */
export type TypedWhole = number | null | "bad";

/**
 * The number; null for an empty field. Signs between groups of three are read where they can be nothing else: the one
 * of the person's language, spaces, apostrophes. "3.5" is no whole number, and no thirty-five.
 */
export function readWhole(typed: string, locale: string): TypedWhole {
  const text = typed.trim().replace(/[\s_’]/g, (sign) => (sign === "’" ? "'" : " "));
  if (!text) return null;
  const digits = text.replace(/\D/g, "");
  const own = groupSign(locale);
  const signs = [" ", "'", ...(own.trim() ? [own] : [])];
  const grouped = signs.some((sign) => {
    const [first = "", ...rest] = text.split(sign);
    return rest.length > 0 && /^\d{1,3}$/.test(first) && rest.every((one) => /^\d{3}$/.test(one));
  });
  // Groups of another size, where a language has them: "1,00,000".
  const asWritten = text === new Intl.NumberFormat(locale, { useGrouping: "always" }).format(Number(digits));
  return /^\d+$/.test(text) || grouped || asWritten ? Number(digits) : "bad";
}

/** The sign between thousands in a language. */
export function groupSign(locale: string): string {
  const parts = new Intl.NumberFormat(locale, { useGrouping: "always" }).formatToParts(1000);
  return parts.find((one) => one.type === "group")?.value ?? "";
}
