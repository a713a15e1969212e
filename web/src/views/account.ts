import { html, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import type { PanelSurroundings } from "../panel.js";

export class AccountView extends View<PanelSurroundings> {
  override render(): TemplateResult {
    return html``;
  }
}
