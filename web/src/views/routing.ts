import { html, nothing, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import type { PanelSurroundings } from "../panel.js";
import { chainStrip } from "../parts/chain.js";

export class RoutingView extends View<PanelSurroundings> {
  override render(): TemplateResult {
    const { chain } = this.at.store;
    return html`${chain ? chainStrip(this.at, chain, true) : nothing}`;
  }
}
