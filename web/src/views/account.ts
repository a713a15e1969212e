/** What is kept of the person, who can read it, and how they take it away or delete it. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import { explain } from "../core/explain.js";
import { View } from "../core/view.js";
import { account } from "../i18n/account.js";
import { shell } from "../i18n/shell.js";
import { field, saveFile } from "../parts/controls.js";
import { ConfirmIdentity } from "../parts/confirm_identity.js";
import { dialog } from "../parts/dialog.js";
import { icon, type IconName } from "../parts/icons.js";
import { tellPage } from "../parts/leaving.js";
import { receipt, type Receipt } from "../parts/receipt.js";
import passwordStyles from "../parts/password.css?inline";
import type { PanelSurroundings } from "../panel.js";
import styles from "./account.css?inline";
import { showFirstSteps } from "./first_steps.js";

const SIGNS: readonly IconName[] = ["lock", "eye", "share", "remove"];

export class AccountView extends View<PanelSurroundings> {
  override readonly styles = passwordStyles + styles;

  #identity = new ConfirmIdentity(this.at);
  #removing: { typed: string; fault: string | null; busy: boolean } | null = null;
  #exporting = false;
  #gone: Receipt | null = null;

  override leave(): void {
    this.#removing = null;
    this.#identity.close();
  }

  override render(): TemplateResult {
    const t = account[this.at.language];
    if (this.#gone) {
      return html`<div class="empty" role="status">
        <h2>${t.goodbye}</h2>
        <p>${t.goodbyeText}</p>
        ${receipt(this.#gone, this.at.language)}
      </div>`;
    }
    return html`
      <section class="section" aria-labelledby="account-facts">
        <header><h2 id="account-facts">${t.title}</h2></header>
        <div class="account-facts card">
          ${t.facts(new URL(this.at.api.base).host).map(
            (fact, at) => html`<div>
              ${icon(SIGNS[at]!)}
              <div><h3>${fact.title}</h3><p>${fact.text}</p></div>
            </div>`,
          )}
        </div>
      </section>
      ${this.#drawAction(
        "export",
        t.export,
        t.exportText,
        html`<button ?disabled=${this.#exporting} @click=${() => this.#export()}>
          ${icon("download")}${t.exportButton}
        </button>`,
      )}
      ${this.#drawAction(
        "guide",
        t.guide,
        t.guideText,
        html`<button
          @click=${() => {
            showFirstSteps();
            this.at.show("keys");
          }}
        >
          ${t.guideButton}
        </button>`,
      )}
      ${this.#drawAction(
        "remove",
        t.remove,
        t.removeText,
        html`<button class="danger" @click=${() => this.#begin()}>${t.removeButton}</button>`,
      )}
      ${this.#drawRemoval()} ${this.#identity.render()}`;
  }

  #drawAction(id: string, title: string, text: string, action: TemplateResult): TemplateResult {
    return html`<section class="section account-action" aria-labelledby="account-${id}">
      <header>
        <div>
          <h2 id="account-${id}">${title}</h2>
          <p>${text}</p>
        </div>
        ${action}
      </header>
    </section>`;
  }

  #drawRemoval(): TemplateResult | typeof nothing {
    const removing = this.#removing;
    if (!removing) return nothing;
    const t = account[this.at.language];
    const words = shell[this.at.language];
    const { store } = this.at;
    const close = () => {
      this.#removing = null;
      this.update();
    };
    return dialog({
      id: "remove-account",
      title: t.removeTitle,
      closeLabel: words.close,
      onClose: close,
      onSubmit: () => void this.#remove(),
      body: html`<ul class="account-effects">
          ${t.removeItems(store.credentials.length).map((item) => html`<li>${item}</li>`)}
        </ul>
        <p><strong>${t.removeForever}</strong></p>
        ${field({
          id: "account-confirm",
          label: t.removeConfirm(store.session.user_id),
          error: removing.fault,
          control: (id, describedBy) => html`<input
            id=${id}
            autocomplete="off"
            autocapitalize="none"
            spellcheck="false"
            autofocus
            aria-describedby=${describedBy || nothing}
            aria-invalid=${removing.fault ? "true" : "false"}
            .value=${removing.typed}
            @input=${(event: Event) => {
              removing.typed = (event.target as HTMLInputElement).value;
              removing.fault = null;
              this.update();
            }}
          />`,
        })}`,
      actions: html`<button type="button" @click=${close}>${words.cancel}</button>
        <button class="danger" ?disabled=${removing.busy}>${t.removeNow}</button>`,
    });
  }

  async #export(): Promise<void> {
    this.#exporting = true;
    this.update();
    try {
      const { blob, name } = await this.at.api.download("/api/export");
      saveFile(blob, name);
      this.at.notices.done(account[this.at.language].exported);
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.#exporting = false;
    this.update();
  }

  #begin(): void {
    this.#removing = { typed: "", fault: null, busy: false };
    this.update();
  }

  async #remove(): Promise<void> {
    const removing = this.#removing;
    if (!removing || removing.busy) return;
    const typed = removing.typed.trim();
    if (typed !== this.at.store.session.user_id) {
      this.#refuse(removing, account[this.at.language].removeMismatch);
      return;
    }
    removing.busy = true;
    this.update();
    try {
      const erase = () => this.at.api.call("delete", "/api/account", { body: { confirm: typed } });
      const { data } = await this.#identity.run(erase);
      this.#removing = null;
      this.#gone = data;
      tellPage(this.at, "ownkey-deleted", data);
    } catch (error) {
      const givenUp = error instanceof DOMException && error.name === "AbortError";
      if (!givenUp) this.#refuse(removing, explain(error, this.at.language));
      if (error instanceof ApiError && error.status === 401) this.at.notices.failed(error);
    }
    removing.busy = false;
    this.update();
  }

  #refuse(removing: { fault: string | null }, fault: string): void {
    removing.fault = fault;
    this.update();
    this.at.root.querySelector<HTMLElement>("#account-confirm")?.focus();
  }
}
