/** Why a request would go nowhere now: the one reason that matters most, of all that were left out. */
import { html, nothing, type TemplateResult } from "lit";
import type { Route } from "../core/store.js";
import { nowhere as texts } from "../i18n/nowhere.js";
import type { PanelSurroundings } from "../panel.js";
import { icon } from "./icons.js";
import { skipReason } from "./skipped.js";

type Around = Pick<PanelSurroundings, "store" | "language" | "format">;
type Hop = Route["skipped"][number];

// These say no more than that there is no key.
const BARE: readonly string[] = ["no_credential", "shared_refused"];
// These follow from what the person or the administrators chose: they say little where anything else stood in the way.
const CHOSEN: readonly string[] = [...BARE, "shared_not_granted", "not_allowed", "disabled", "fallback_refused"];
// These are about money, not about one provider.
const OF_MONEY = ["own_cap_reached", "consent_needed", "budget_spent", "rate_limited", "fallback_refused"];

/** A sentence, and the server's code for it; null where something serves, or nothing is there that could. */
export function whyNowhere(at: Around, route: Route): { text: string; reason: string } | null {
  if (route.attempts.length) return null;
  const hop = route.skipped.find((one) => !CHOSEN.includes(one.reason)) ?? route.skipped.find((one) => !BARE.includes(one.reason));
  if (!hop) return null;
  const text = hop.reason === "own_cap_reached" ? capText(at, hop) : skipReason(at, hop.reason, hop.until);
  return { text: OF_MONEY.includes(hop.reason) ? `${text}.` : `${at.store.label(hop.provider)}: ${text}.`, reason: hop.reason };
}

/** Which of the two caps it was shows in when it begins anew. */
function capText({ store, language, format }: Around, { until }: Hop): string {
  const t = texts[language];
  const { day_microdollars: day, month_microdollars: month } = store.settings.caps;
  const soon = until !== null && Date.parse(until) - Date.now() <= 86_400_000;
  const ofDay = day !== null && (month === null || soon);
  return (ofDay ? t.dayCap : t.monthCap)(until ? format.relative(until) : "");
}

/** In the place of the chain: that nothing serves, why, and the way to what can be changed. */
export function drawNowhere(at: PanelSurroundings, route: Route): TemplateResult | typeof nothing {
  const why = whyNowhere(at, route);
  // A beginner without a key has the first steps.
  if (!why || (!at.store.credentials.length && CHOSEN.includes(why.reason))) return nothing;
  const t = texts[at.language];
  const go = (label: string, tab: string) => html`<button @click=${() => at.show(tab)}>${label}</button>`;
  return html`<div class="card row keys-nowhere" role="status">
    <p class="grow"><strong>${icon("alert")} ${t.now}</strong> ${why.text}</p>
    ${why.reason === "own_cap_reached"
      ? go(t.caps, "usage")
      : why.reason === "budget_spent" || why.reason === "rate_limited"
        ? go(t.limits, "usage")
        : // The question itself stands above.
          why.reason === "consent_needed"
          ? nothing
          : go(t.routing, "routing")}
  </div>`;
}
