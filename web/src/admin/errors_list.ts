import { html, nothing, type TemplateResult } from "lit";
import type { Format } from "../core/format.js";
import type { Language } from "../core/language.js";
import { outcomes } from "../i18n/outcomes.js";

/** Classes of errors with how often each was met, the most frequent first. */
export function errorsList(
  errors: Readonly<Record<string, number>>,
  language: Language,
  format: Format,
): TemplateResult | typeof nothing {
  const names = outcomes[language];
  const met = Object.entries(errors).sort(([, a], [, b]) => b - a);
  if (!met.length) return nothing;
  return html`<ul class="health-errors muted small">
    ${met.map(([error, count]) => html`<li>${format.number(count)} × ${names[error] ?? error}</li>`)}
  </ul>`;
}
