/** Gateway tokens: the list, making one, showing it once, revoking one. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { access } from "../i18n/access.js";
import { shell } from "../i18n/shell.js";
import { empty, field, skeleton } from "../parts/controls.js";
import type { ConfirmIdentity } from "../parts/confirm_identity.js";
import { dialog } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import { CopyButton, Snippets } from "../parts/snippets.js";
import type { PanelSurroundings } from "../panel.js";

type Token = components["schemas"]["TokenOut"];
type Scope = "gateway" | "settings" | "admin";

const DAYS = [30, 90, 365] as const;
const DAY_MILLISECONDS = 86_400_000;

interface Draft {
  name: string;
  /** How many of gateway, settings, admin. */
  reach: number;
  days: number | null;
  fault: string | null;
  busy: boolean;
}

export class Tokens {
  #list: readonly Token[] | null = null;
  #failure: unknown = null;
  #draft: Draft | null = null;
  #made: { name: string; text: string } | null = null;
  #leaving: Token | null = null;
  #update: () => void;
  #copy: CopyButton;
  #snippets: Snippets;
  #example: Snippets;

  constructor(
    private readonly at: PanelSurroundings,
    private readonly identity: ConfirmIdentity,
  ) {
    this.#update = () => at.requestUpdate();
    this.#copy = new CopyButton(this.#update, () => this.#made?.text ?? "");
    this.#snippets = new Snippets("made", this.#update, () => ({ url: this.#url(), token: this.#made?.text ?? "" }));
    this.#example = new Snippets("example", this.#update, () => ({ url: this.#url(), token: "ok-…" }));
  }

  async load(): Promise<void> {
    try {
      this.#list = await this.at.api.get("/api/tokens");
      this.#failure = null;
    } catch (error) {
      this.#failure = error;
      // The frame asks for a new sign-in.
      if (error instanceof ApiError && error.status === 401) this.at.notices.failed(error);
    }
    this.#update();
  }

  /** Nothing secret stays behind in a tab that nobody looks at. */
  forget(): void {
    this.#draft = this.#made = this.#leaving = null;
  }

  render(): TemplateResult {
    const t = access[this.at.language];
    const may = this.at.store.session.via !== "panel";
    return html`
      <section class="section" aria-labelledby="access-tokens">
        <header>
          <div>
            <h2 id="access-tokens">${t.tokens}</h2>
            <p>${t.tokensText}</p>
            ${may
              ? nothing
              : html`<p>${t.byPanel} <a href="${this.at.api.base}#access" target="_blank" rel="noopener">${t.openServer}</a>${this.at.store.session.has_password
                  ? nothing
                  : html`. ${t.lacksPassword}`}</p>`}
          </div>
          ${may
            ? html`<button class="primary" @click=${() => this.#begin()}>${icon("add")}${t.add}</button>`
            : nothing}
        </header>
        ${this.#drawList()}
      </section>
      <section class="section" aria-labelledby="access-connect">
        <header>
          <div>
            <h2 id="access-connect">${t.connect}</h2>
            <p>${t.connectText}</p>
          </div>
        </header>
        ${this.#example.render(this.at.language, { choose: t.snippet, copy: t.copySnippet })}
      </section>
      ${this.#made ? this.#drawMade(this.#made) : this.#draft ? this.#drawDraft(this.#draft) : nothing}
      ${this.#leaving ? this.#drawRevoke(this.#leaving) : nothing}`;
  }

  #drawList(): TemplateResult {
    const t = access[this.at.language];
    const words = shell[this.at.language];
    if (this.#failure) {
      return html`<div class="empty" role="alert">
        <h3>${words.loadFailed}</h3>
        <p>${explain(this.#failure, this.at.language)}</p>
        <button @click=${() => this.load()}>${words.retry}</button>
      </div>`;
    }
    if (!this.#list) return skeleton(words.loading, 2);
    const now = Date.now();
    const valid = this.#list.filter((one) => !one.revoked_at && !(one.expires_at && Date.parse(one.expires_at) <= now));
    const past = this.#list.filter((one) => !valid.includes(one));
    return html`
      ${valid.length
        ? html`<ul class="access-list card">${valid.map((one) => this.#drawToken(one, true))}</ul>`
        : empty(t.noTokens, this.at.store.session.via === "panel" ? t.noTokensHere : t.noTokensText)}
      ${past.length
        ? html`<details class="access-past">
            <summary>${t.past(past.length)}</summary>
            <ul class="access-list card">${past.map((one) => this.#drawToken(one, false))}</ul>
          </details>`
        : nothing}`;
  }

  #drawToken(one: Token, valid: boolean): TemplateResult {
    const t = access[this.at.language];
    const { format } = this.at;
    const ends = one.revoked_at
      ? t.revoked(format.relative(one.revoked_at))
      : !one.expires_at
        ? t.lasting
        : valid
          ? t.expires(format.relative(one.expires_at))
          : t.ended(format.relative(one.expires_at));
    return html`<li>
      <div class="access-what">
        <p class="row"><strong title=${one.name}>${one.name}</strong><code class="muted">${one.hint}</code></p>
        <p class="muted small">
          ${format.list(one.scopes.map((scope) => t.scopes[scope as Scope] ?? scope))} ·
          ${one.last_used_at
            ? html`<span title=${format.dateTime(one.last_used_at)}>${t.used(format.relative(one.last_used_at))}</span>`
            : t.unused}
          · <span title=${format.dateTime(one.revoked_at ?? one.expires_at)}>${ends}</span>
        </p>
      </div>
      ${valid
        ? html`<button aria-label=${t.revokeOne(one.name)} @click=${() => this.#set(() => (this.#leaving = one))}>
            ${t.revoke}
          </button>`
        : nothing}
    </li>`;
  }

  #drawDraft(draft: Draft): TemplateResult {
    const t = access[this.at.language];
    const words = shell[this.at.language];
    const reaches = [
      { scope: "gateway", label: t.mayGateway, text: t.mayGatewayText },
      { scope: "settings", label: t.maySettings, text: t.maySettingsText },
      { scope: "admin", label: t.mayAdmin, text: t.mayAdminText },
    ].filter((one) => this.at.store.session.scopes.includes(one.scope));
    return dialog({
      id: "new-token",
      title: t.add,
      closeLabel: words.close,
      onClose: () => this.#set(() => (this.#draft = null)),
      onSubmit: () => void this.#create(draft),
      body: html`
        ${field({
          id: "token-name",
          label: t.name,
          hint: t.nameHint,
          error: draft.fault,
          control: (id, describedBy) => html`<input
            id=${id}
            autofocus
            maxlength="100"
            autocomplete="off"
            aria-describedby=${describedBy}
            aria-invalid=${draft.fault ? "true" : "false"}
            .value=${draft.name}
            @input=${(event: Event) => (draft.name = (event.target as HTMLInputElement).value)}
          />`,
        })}
        <fieldset class="access-reach">
          <legend>${t.may}</legend>
          ${reaches.map(
            (one, at) => html`<label class="choice">
              <input
                type="radio"
                name="reach"
                .checked=${draft.reach === at + 1}
                @change=${() => this.#set(() => (draft.reach = at + 1))}
              />
              <span>${one.label}<span class="muted small">${one.text}</span></span>
            </label>`,
          )}
        </fieldset>
        ${field({
          id: "token-expiry",
          label: t.expiry,
          control: (id) => html`<select
            id=${id}
            @change=${(event: Event) => (draft.days = Number((event.target as HTMLSelectElement).value) || null)}
          >
            ${DAYS.map((days) => html`<option value=${days} .selected=${draft.days === days}>${t.days(days)}</option>`)}
            <option value="" .selected=${draft.days === null}>${t.never}</option>
          </select>`,
        })}`,
      actions: html`<button type="button" @click=${() => this.#set(() => (this.#draft = null))}>${words.cancel}</button>
        <button class="primary" ?disabled=${draft.busy}>${t.create}</button>`,
    });
  }

  #drawMade(made: { name: string; text: string }): TemplateResult {
    const t = access[this.at.language];
    const close = () => this.#set(() => (this.#made = null));
    return dialog({
      id: "made-token",
      wide: true,
      title: t.shown(made.name),
      closeLabel: shell[this.at.language].close,
      onClose: close,
      body: html`<p>${t.once}</p>
        <div class="row access-secret">
          <code aria-label=${t.token} role="textbox" aria-readonly="true" tabindex="0">${made.text}</code>
          ${this.#copy.render(this.at.language, t.copyToken)}
        </div>
        ${this.#snippets.render(this.at.language, { choose: t.snippet, copy: t.copySnippet })}`,
      actions: html`<button class="primary" @click=${close}>${t.done}</button>`,
    });
  }

  #drawRevoke(one: Token): TemplateResult {
    const t = access[this.at.language];
    const words = shell[this.at.language];
    const close = () => this.#set(() => (this.#leaving = null));
    return dialog({
      id: "revoke-token",
      title: t.revokeTitle(one.name),
      closeLabel: words.close,
      onClose: close,
      body: html`<p>${t.revokeText}</p>`,
      actions: html`<button @click=${close}>${words.cancel}</button>
        <button class="danger" @click=${() => this.#revoke(one)}>${t.revoke}</button>`,
    });
  }

  #begin(): void {
    this.#set(() => (this.#draft = { name: "", reach: 1, days: 90, fault: null, busy: false }));
  }

  async #create(draft: Draft): Promise<void> {
    if (draft.busy) return;
    if (!draft.name.trim()) {
      this.#set(() => (draft.fault = access[this.at.language].nameMissing));
      return;
    }
    this.#set(() => (draft.busy = true));
    try {
      const scopes = (["gateway", "settings", "admin"] as Scope[])
        .filter((scope) => this.at.store.session.scopes.includes(scope))
        .slice(0, draft.reach);
      const expires_at = draft.days ? new Date(Date.now() + draft.days * DAY_MILLISECONDS).toISOString() : null;
      const made = await this.identity.run(() =>
        this.at.api.post("/api/tokens", { name: draft.name.trim(), scopes, expires_at }),
      );
      this.#draft = null;
      this.#made = { name: made.name, text: made.token };
      void this.load();
    } catch (error) {
      // Given up: the dialog is as it was.
      const givenUp = error instanceof DOMException && error.name === "AbortError";
      draft.fault = givenUp ? null : explain(error, this.at.language);
    }
    draft.busy = false;
    this.#update();
  }

  async #revoke(one: Token): Promise<void> {
    this.#leaving = null;
    try {
      await this.at.api.call("delete", "/api/tokens/{token_id}", { path: { token_id: one.id } });
      this.at.notices.done(access[this.at.language].revokeDone(one.name));
    } catch (error) {
      this.at.notices.failed(error);
    }
    await this.load();
  }

  #url(): string {
    return new URL("v1", this.at.api.base).href;
  }

  #set(change: () => void): void {
    change();
    this.#update();
  }
}
