/** The receipt for an erasure: where it is on record, and the whole of it to take along. */
import { html, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import type { Language } from "../core/language.js";
import { receiptWords } from "../i18n/receipt.js";
import { saveFile } from "./controls.js";

export type Receipt = components["schemas"]["ErasureReceiptOut"];

export function receipt(given: Receipt, language: Language): TemplateResult {
  const t = receiptWords[language];
  const save = () =>
    saveFile(
      new Blob([JSON.stringify(given, null, 2) + "\n"], { type: "application/json" }),
      `ownkey-receipt-${given.erased_at.slice(0, 10)}.json`,
    );
  return html`<p>${t.entry(String(given.audit_position), String(given.audit_chain))}</p>
    <p><button @click=${save}>${t.download}</button></p>`;
}
