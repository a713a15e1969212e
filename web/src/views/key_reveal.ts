/** A stored key, shown once more to its owner for half a minute. The server allows it only after a fresh sign-in. */
import { html, nothing, type TemplateResult } from "lit";
import type { Credential } from "../core/store.js";
import { keys } from "../i18n/keys.js";
import { shell } from "../i18n/shell.js";
import { ConfirmIdentity } from "../parts/confirm_identity.js";
import { copyText } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import type { PanelSurroundings } from "../panel.js";

// By this machine's clock from the moment that the key is here: by the server's time, a clock that is an hour slow
// would show it for an hour.
const SHOWN_SECONDS = 30;

export class KeyReveal {
  #identity: ConfirmIdentity;
  #secret = "";
  #hidesAt = 0;
  #ticking = 0;
  #copied: "" | "copied" | "failed" = "";

  constructor(
    private readonly at: PanelSurroundings,
    private readonly key: Credential,
    private readonly onClose: () => void,
  ) {
    this.#identity = new ConfirmIdentity(at);
  }

  /** Asks for the key, and for a confirmation of who is there where the server wants one. */
  async start(): Promise<void> {
    try {
      const found = await this.#identity.run(() =>
        this.at.api.post("/api/credentials/{credential_id}/reveal", undefined, { path: { credential_id: this.key.id } }),
      );
      this.#secret = found.secret;
      this.#hidesAt = Date.now() + SHOWN_SECONDS * 1000;
      this.#ticking = window.setInterval(() => this.#tick(), 1000);
      this.at.requestUpdate();
    } catch (error) {
      this.at.notices.failed(error);
      this.close();
    }
  }

  /** Forgets the key. */
  close(): void {
    clearInterval(this.#ticking);
    this.#secret = "";
    this.#identity.close();
    this.onClose();
  }

  render(): TemplateResult {
    if (!this.#secret) return html`${this.#identity.render()}`;
    const t = keys[this.at.language];
    const s = shell[this.at.language];
    const copy = (): void =>
      void copyText(
        this.#secret,
        () => this.#say("copied"),
        () => this.#say("failed"),
      );
    return dialog({
      title: `${this.at.store.label(this.key.provider)} · ${this.at.store.keyName(this.key)}`,
      closeLabel: s.close,
      onClose: () => this.close(),
      body: html`
        <p class="keys-revealed mono" tabindex="0">${this.#secret}</p>
        <p class="muted">${t.revealText(Math.max(0, Math.ceil((this.#hidesAt - Date.now()) / 1000)))}</p>
        <p role="status" class="small">${this.#copied === "failed" ? s.copyFailed : nothing}</p>
      `,
      actions: html`<button class="primary" @click=${copy}>
        ${icon(this.#copied === "copied" ? "check" : "copy")}${this.#copied === "copied" ? s.copied : s.copy}
      </button>`,
    });
  }

  #tick(): void {
    if (Date.now() >= this.#hidesAt) this.close();
    else this.at.requestUpdate();
  }

  #say(copied: "copied" | "failed"): void {
    this.#copied = copied;
    this.at.requestUpdate();
  }
}
