/** What a view shows in place of what could not be loaded: the cause and a way to try again. */
import { html, type TemplateResult } from "lit";
import { explain } from "../core/explain.js";
import type { Language } from "../core/language.js";
import { shell } from "../i18n/shell.js";
import { empty } from "./controls.js";

export function failure(error: unknown, language: Language, retry: () => void): TemplateResult {
  const t = shell[language];
  return html`<div role="alert">
    ${empty(t.loadFailed, explain(error, language), html`<button @click=${retry}>${t.retry}</button>`)}
  </div>`;
}
