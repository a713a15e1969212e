/** Errors in the person's language, by the server's stable codes. A code without words here keeps the server's. */
import { ApiError } from "../api/client.js";
import { local, translated } from "../i18n/errors.js";
import type { Language } from "./language.js";

/** A sentence that says what happened and what to do. */
export function explain(error: unknown, language: Language): string {
  const own: Record<string, string> = local[language];
  if (!(error instanceof ApiError)) return own["internal_error"]!;
  const known = own[error.code] ?? translated[language][error.code];
  if (known) return known;
  return error.message || own["internal_error"]!;
}
