/** What to do first: three steps that can be put away, and that go by themselves once requests run. */
import { html, nothing, type TemplateResult } from "lit";
import { firstSteps } from "../i18n/first_steps.js";
import { icon } from "../parts/icons.js";
import type { PanelSurroundings } from "../panel.js";

const HIDDEN = "ownkey-first-steps-hidden";

/** @param addKey opens the dialog for a key */
export function guide(at: PanelSurroundings, addKey: () => void): TemplateResult | typeof nothing {
  const { credentials } = at.store;
  const running = credentials.some((one) => one.request_count > 0);
  if (running || isHidden()) return nothing;
  const t = firstSteps[at.language];
  const has = credentials.length > 0;
  // A program's token is made on the server's own page.
  const embedded = at.store.session.via === "panel";
  const hide = (): void => {
    remember(true);
    at.requestUpdate();
  };
  return html`<section class="section card">
    <header>
      <h2>${embedded ? t.titleTwo : t.title}</h2>
      <button class="icon" aria-label=${t.hide} title=${t.hide} @click=${hide}>${icon("close")}</button>
    </header>
    <ol class="keys-steps">
      ${step(1, t.key, t.keyText, has, !has, addKey)} ${step(2, t.route, t.routeText, false, false, () => at.show("routing"))}
      ${embedded ? nothing : step(3, t.connect, t.connectText, false, has, () => at.show("access"))}
    </ol>
  </section>`;

  /** @param next whether it is the one to take now */
  function step(
    number: number,
    title: string,
    text: string,
    done: boolean,
    next: boolean,
    run: () => void,
  ): TemplateResult {
    return html`<li>
      <h3><span class="keys-step">${at.format.number(number)}</span>${title}</h3>
      <p class="muted">${text}</p>
      ${done
        ? html`<span class="pill good">${icon("check")}${t.done}</span>`
        : html`<button class=${next ? "primary" : ""} @click=${run} aria-label="${t.start}: ${title}">${t.start}${icon("arrow")}</button>`}
    </li>`;
  }
}

/** Brings the steps back. */
export function showFirstSteps(): void {
  remember(false);
}

function isHidden(): boolean {
  try {
    return localStorage.getItem(HIDDEN) === "1";
  } catch {
    return false;
  }
}

function remember(hidden: boolean): void {
  try {
    if (hidden) localStorage.setItem(HIDDEN, "1");
    else localStorage.removeItem(HIDDEN);
  } catch {
    // A page may forbid storage: then the steps come back with the next visit.
  }
}
