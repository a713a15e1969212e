/** The languages of the panel. Each view keeps its texts in one file of `i18n/`, all languages side by side. */

export const LANGUAGES = ["en", "de", "es"] as const;
export type Language = (typeof LANGUAGES)[number];

/** One text in all languages. A language that misses a text, or has one too many, does not compile. */
export function texts<T>(all: { en: T; de: NoInfer<T>; es: NoInfer<T> }): Record<Language, T> {
  return all;
}

/**
 * The locale and language for an element: its own or the nearest `lang`, then the page's, then the browser's.
 * A language that the panel does not speak becomes English; its locale still formats numbers and dates.
 */
export function findLocale(element: HTMLElement): { locale: string; language: Language } {
  let root: Node = element;
  let named = "";
  while (!named && root) {
    named = root instanceof Element ? (root.closest("[lang]")?.getAttribute("lang") ?? "") : "";
    const tree = root.getRootNode();
    if (!(tree instanceof ShadowRoot)) break;
    root = tree.host;
  }
  for (const wanted of [named, ...navigator.languages, "en"]) {
    const locale = supportedLocale(wanted);
    if (!locale) continue;
    const short = locale.split("-")[0]!.toLowerCase() as Language;
    if (wanted === named || LANGUAGES.includes(short)) {
      return { locale, language: LANGUAGES.includes(short) ? short : "en" };
    }
  }
  return { locale: "en", language: "en" };
}

/** A tag that `Intl` accepts, or null: browsers have been seen with tags such as `en-US@posix`. */
function supportedLocale(tag: string): string | null {
  try {
    return tag ? (Intl.getCanonicalLocales(tag.replace(/[@.].*$/, "").replace("_", "-"))[0] ?? null) : null;
  } catch {
    return null;
  }
}

/** Picks the form of a counted noun. */
export function plural(locale: string, count: number, one: string, other: string): string {
  return new Intl.PluralRules(locale).select(count) === "one" ? one : other;
}
