/** Asks before the administrator's keys serve a person for the first time, where the administrators want that. */
import { html, nothing, type TemplateResult } from "lit";
import { consent as texts } from "../i18n/consent.js";
import type { PanelSurroundings } from "../panel.js";
import { icon } from "./icons.js";

/** The question; nothing where nobody asks or the person has agreed. */
export function askForConsent(at: PanelSurroundings): TemplateResult | typeof nothing {
  const { store, format } = at;
  const lent = store.providers.filter((one) => store.policy.shared_providers.includes(one.id));
  if (!store.settings.shared_consent_needed || !lent.length || store.settings.payer === "own_only") return nothing;
  const t = texts[at.language];
  return html`<section class="section card keys-consent" aria-labelledby="consent">
    <header>
      <div>
        <h2 id="consent">${icon("share")} ${t.title}</h2>
        <p>${(store.lends ? t.lentText : t.text)(format.list(lent.map((one) => one.label)))} ${t.note}</p>
      </div>
      <div class="row">
        <button class="primary" @click=${() => void decide(at, true)}>${t.agree}</button>
        ${store.isLocked("payer") ? nothing : html`<button @click=${() => void refuse(at)}>${t.refuse}</button>`}
      </div>
    </header>
  </section>`;
}

/** When the person agreed, and the way back. */
export function showConsent(at: PanelSurroundings): TemplateResult | typeof nothing {
  const { shared_consent_at: since } = at.store.settings;
  if (!since) return nothing;
  const t = texts[at.language];
  return html`<p class="keys-agreed muted small">
    ${t.since(at.format.date(since))} <button class="plain" @click=${() => void decide(at, false)}>${t.takeBack}</button>
  </p>`;
}

async function decide(at: PanelSurroundings, agreed: boolean): Promise<void> {
  const t = texts[at.language];
  try {
    await at.store.change("settings", "patch", "/api/settings", { body: { shared_consent: agreed } });
    at.notices.done(agreed ? t.agreed : t.takenBack, agreed ? () => void decide(at, false) : undefined);
  } catch (error) {
    at.notices.failed(error);
  }
}

/** "No" is the rule that only own keys pay: nobody asks again until the person chooses another. */
async function refuse(at: PanelSurroundings): Promise<void> {
  const t = texts[at.language];
  const { payer, payer_chosen: chosen } = at.store.settings;
  const put = (rule: string | null) => at.store.change("settings", "patch", "/api/settings", { body: { payer: rule } });
  const undo = (): void => void put(chosen ? payer : null).catch((error: unknown) => at.notices.failed(error));
  try {
    await put("own_only");
    at.notices.done(t.refused, undo);
  } catch (error) {
    at.notices.failed(error);
  }
}
