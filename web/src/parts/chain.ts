/** A request's chain as people read it: who is tried, with what, and who pays. Styles: `chain.css`. */
import { html, nothing, type TemplateResult } from "lit";
import type { Hop, Route } from "../core/store.js";
import { chain as texts } from "../i18n/chain.js";
import { words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { payerMark } from "./controls.js";
import { icon } from "./icons.js";

type Around = Pick<PanelSurroundings, "store" | "language" | "format">;

/** The hops of a route that has some, in order, ending in the error. @param price what a hop may cost, where that is to be said */
export function chainStrip(at: Around, route: Route, price: (hop: Hop) => unknown = () => nothing): TemplateResult {
  const t = texts[at.language];
  return html`
    <ol class="chain" role="list" aria-label=${t.label}>
      ${route.attempts.map((hop, index) => drawHop(at, hop, index + 1, price(hop)))}
      <li class="hop last" title=${t.endHint}><span class="hop-name">${icon("alert")}${t.end}</span></li>
    </ol>`;
}

function drawHop(at: Around, hop: Hop, number: number, price: unknown): TemplateResult {
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
    ${price}
    <span class="hop-arrow">${icon("arrow")}</span>
  </li>`;
}

/** @param key which of the person's keys, where that says something */
export function drawPayer(at: Around, payer: string, key: string | null): TemplateResult {
  const { own, shared } = words[at.language].payer;
  return html`<span class="hop-payer" title=${key ?? nothing}>
    ${payerMark(payer, { own: key ? `${own} · ${key}` : own, shared })}
  </span>`;
}
