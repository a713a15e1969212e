/** Who and what may act as this person: tokens of programs, and where they are signed in. */
import { html, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import type { PanelSurroundings } from "../panel.js";
import styles from "./access.css?inline";
import { Tokens } from "./tokens.js";

export class AccessView extends View<PanelSurroundings> {
  override readonly styles = styles;

  #tokens = new Tokens(this.at);

  override enter(): void {
    void this.#tokens.load();
  }

  override leave(): void {
    this.#tokens.forget();
  }

  override render(): TemplateResult {
    return html`${this.#tokens.render()}`;
  }
}
