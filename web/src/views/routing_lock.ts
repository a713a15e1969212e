/** The sign on what an administrator has decided. */
import { html, type TemplateResult } from "lit";
import { routing as texts } from "../i18n/routing.js";
import type { PanelSurroundings } from "../panel.js";
import { icon } from "../parts/icons.js";

export function lockMark(at: PanelSurroundings): TemplateResult {
  return html`<span class="routing-lock">${icon("lock")}${texts[at.language].lockedBy(at.store.policy.locked_by)}</span>`;
}
