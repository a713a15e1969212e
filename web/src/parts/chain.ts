/** A request's chain as people read it: who is tried, with what, who pays, what is left out. Styles: `chain.css`. */
import { html, nothing, type TemplateResult } from "lit";
import type { Hop, Route } from "../core/store.js";
import { chain as texts } from "../i18n/chain.js";
import { words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { payerMark } from "./controls.js";
import { icon } from "./icons.js";

type Around = Pick<PanelSurroundings, "store" | "language" | "format">;

/**
 * The hops in order, ending in the error. With `skipped` the hops that are left out follow, each with its reason,
 * behind a line that opens them; "open" shows them at once.
 */
export function chainStrip(at: Around, route: Route, skipped: boolean | "open" = false): TemplateResult {
  const t = texts[at.language];
  const some = route.attempts.length > 0;
  return html`
    <ol class="chain" role="list" aria-label=${t.label}>
      ${route.attempts.map((hop, index) => drawHop(at, hop, index + 1))}
      <li class="hop last ${some ? "" : "none"}" title=${some ? t.endHint : nothing}>
        <span class="hop-name">${icon("alert")}${some ? t.end : t.nothing}</span>
        ${some ? nothing : html`<span class="hop-model">${t.nothingHint}</span>`}
      </li>
    </ol>
    ${skipped && route.skipped.length
      ? html`<details class="skipped" ?open=${skipped === "open"}>
          <summary>${t.skipped(route.skipped.length)}${icon("chevron")}</summary>
          ${skippedList(at, route)}
        </details>`
      : nothing}`;
}

/** What is left out, and why. */
export function skippedList(at: Around, route: Route): TemplateResult {
  return html`<ul class="skipped-list">
    ${route.skipped.map(
      (one) => html`<li>
        <span class="skipped-hop">
          <strong>${at.store.label(one.provider)}</strong>
          ${one.model ? html`<code title=${one.model}>${one.model}</code>` : nothing}
          ${drawPayer(at, one.payer, one.credential)}
        </span>
        <span class="muted">${skipReason(at, one.reason, one.until)}</span>
      </li>`,
    )}
  </ul>`;
}

/** Why a hop is left out, in words, with the time at which it may work again. */
export function skipReason(at: Around, reason: string, until?: string | null): string {
  const t = texts[at.language];
  const text = (t.reasons as Record<string, string>)[reason] ?? reason;
  if (!until) return text;
  const today = new Date(until).toDateString() === new Date().toDateString();
  return t.until(text, today ? at.format.time(until) : at.format.dateTime(until));
}

function drawHop(at: Around, hop: Hop, number: number): TemplateResult {
  const key = hop.credential;
  // Which of several keys it is says something; the only one is just "your key".
  const several = key !== null && at.store.keysOf(hop.provider).length > 1;
  return html`<li class="hop">
    <span class="hop-name">
      <span class="hop-number" aria-hidden="true">${number}</span>
      <strong>${at.store.label(hop.provider)}</strong>
      ${drawPayer(at, hop.payer, several ? at.store.keyName(key) : null)}
    </span>
    <code class="hop-model" title=${hop.model}>${hop.model}</code>
    <span class="hop-arrow">${icon("arrow")}</span>
  </li>`;
}

/** @param key which of the person's keys, where that says something */
function drawPayer(at: Around, payer: string, key: string | null): TemplateResult {
  const { own, shared } = words[at.language].payer;
  return html`<span class="hop-payer" title=${key ?? nothing}>
    ${payerMark(payer, { own: key ? `${own} · ${key}` : own, shared })}
  </span>`;
}
