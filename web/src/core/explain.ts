/** Errors in the person's language, by the server's stable codes. A code without words here keeps the server's. */
import { ApiError } from "../api/client.js";
import { localErrors } from "../i18n/local_errors.js";
import type { Language } from "./language.js";

/** What the server's codes mean, by language, once it is there. */
const asked = new Set<Language>();
const sentences = new Map<Language, Readonly<Record<string, string>>>();

/** Fetches the sentences of a language, once: English has the server's own, and needs none. */
export function prepareToExplain(language: Language): void {
  if (language === "en" || asked.has(language)) return;
  asked.add(language);
  import("../i18n/errors.js").then(
    ({ translated }) => sentences.set(language, translated[language]),
    // No connection: then the next drawing asks again.
    () => asked.delete(language),
  );
}

/** A sentence that says what happened and what to do. */
export function explain(error: unknown, language: Language): string {
  const own: Record<string, string> = localErrors[language];
  if (!(error instanceof ApiError)) return own["internal_error"]!;
  return own[error.code] ?? sentences.get(language)?.[error.code] ?? (error.message || own["internal_error"]!);
}
