/** Who and what may act as this person: tokens of programs, and where they are signed in. */
import { html, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import { ConfirmIdentity } from "../parts/confirm_identity.js";
import passwordStyles from "../parts/password.css?inline";
import type { PanelSurroundings } from "../panel.js";
import styles from "./access.css?inline";
import { Sessions } from "./sessions.js";
import { Tokens } from "./tokens.js";

export class AccessView extends View<PanelSurroundings> {
  override readonly styles = passwordStyles + styles;

  #identity = new ConfirmIdentity(this.at);
  #tokens = new Tokens(this.at, this.#identity);
  #sessions = new Sessions(this.at);

  override enter(): void {
    void this.#tokens.load();
    void this.#sessions.load();
  }

  override leave(): void {
    this.#tokens.forget();
    this.#sessions.forget();
    this.#identity.close();
  }

  override render(): TemplateResult {
    return html`${this.#tokens.render()} ${this.#sessions.render()} ${this.#identity.render()}`;
  }
}
