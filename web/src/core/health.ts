/** How a key fares, in the person's language. What is well needs no words here. */
import type { Credential } from "./store.js";
import type { Language } from "./language.js";

const WELL: ReadonlySet<string> = new Set(["ok", "unverified", "expires_soon"]);
type Sentences = Readonly<Record<string, (provider: string) => string>>;
const asked = new Set<Language>();
const sentences = new Map<Language, Sentences>();

/** A sentence that says what is wrong and what to do; null where nothing is, or while its language is being fetched. */
export function describeHealth(key: Credential, provider: string, language: Language, redraw: () => void): string | null {
  const { code, message } = key.health;
  if (WELL.has(code)) return null;
  if (language === "en") return message;
  const known = sentences.get(language);
  if (known) return known[code]?.(provider) ?? message;
  if (!asked.has(language)) {
    asked.add(language);
    import("../i18n/health.js").then(
      ({ translated }) => (sentences.set(language, translated[language]), redraw()),
      // No connection: then the next drawing asks again.
      () => asked.delete(language),
    );
  }
  return null;
}
