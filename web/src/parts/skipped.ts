/** What a request passes over: every candidate that was dropped, each with its reason. Styles: `chain.css`. */
import { html, nothing, type TemplateResult } from "lit";
import type { Route } from "../core/store.js";
import { skipped as texts } from "../i18n/skipped.js";
import type { PanelSurroundings } from "../panel.js";
import { drawPayer } from "./chain.js";
import { icon } from "./icons.js";

type Around = Pick<PanelSurroundings, "store" | "language" | "format">;

/** Shown at once, behind a line that closes them. */
export function skippedHops(at: Around, { skipped }: Route): TemplateResult | typeof nothing {
  if (!skipped.length) return nothing;
  const t = texts[at.language];
  return html`<details class="skipped" open>
    <summary>${t.count(skipped.length)}${icon("chevron")}</summary>
    <ul class="skipped-list">
      ${skipped.map(
        (one) => html`<li>
          <span class="skipped-hop">
            <strong>${at.store.label(one.provider)}</strong>
            ${one.model ? html`<code title=${one.model}>${one.model}</code>` : nothing}
            ${drawPayer(at, one.payer, one.credential)}
          </span>
          <span class="muted">${skipReason(at, one.reason, one.until)}</span>
        </li>`,
      )}
    </ul>
  </details>`;
}

/** In words, with the time at which it may work again. */
export function skipReason(at: Around, reason: string, until: string | null): string {
  const t = texts[at.language];
  const text = (t.reasons as Record<string, string>)[reason] ?? reason;
  if (!until) return text;
  const today = new Date(until).toDateString() === new Date().toDateString();
  return t.until(text, today ? at.format.time(until) : at.format.dateTime(until));
}
