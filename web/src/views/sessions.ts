/** Where the person is signed in, how to end that, and their password. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { password as passwordTexts } from "../i18n/password.js";
import { sessions } from "../i18n/sessions.js";
import { shell } from "../i18n/shell.js";
import { pill, skeleton } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { tellPage } from "../parts/leaving.js";
import { PasswordField } from "../parts/password.js";
import type { PanelSurroundings } from "../panel.js";

type Session = components["schemas"]["OpenSessionOut"];

export class Sessions {
  #list: readonly Session[] | null = null;
  #failure: unknown = null;
  #open: "everywhere" | "password" | null = null;
  #current: PasswordField;
  #new: PasswordField;
  #fault: unknown = null;
  #busy = false;

  constructor(private readonly at: PanelSurroundings) {
    const redraw = () => at.requestUpdate();
    this.#current = new PasswordField("password-current", "current-password", redraw);
    this.#new = new PasswordField("password-new", "new-password", redraw);
  }

  async load(): Promise<void> {
    if (!this.at.session) return;
    try {
      this.#list = await this.at.api.get("/api/sessions");
      this.#failure = null;
    } catch (error) {
      this.#failure = error;
      // The frame asks for a new sign-in.
      if (error instanceof ApiError && error.status === 401) this.at.notices.failed(error);
    }
    this.at.requestUpdate();
  }

  forget(): void {
    this.#shut();
  }

  render(): TemplateResult {
    const t = sessions[this.at.language];
    return html`
      <section class="section" aria-labelledby="access-sessions">
        <header>
          <div>
            <h2 id="access-sessions">${t.title}</h2>
            ${this.at.session ? html`<p>${t.text}</p>` : nothing}
          </div>
          <button @click=${() => this.#show("everywhere")}>${t.all}</button>
        </header>
        ${this.at.session ? this.#drawList() : nothing}
      </section>
      ${this.at.session && this.at.store.session.has_password
        ? html`<section class="section" aria-labelledby="access-password">
            <header>
              <div>
                <h2 id="access-password">${t.password}</h2>
                <p>${t.passwordText}</p>
              </div>
              <button @click=${() => this.#show("password")}>${t.change}</button>
            </header>
          </section>`
        : nothing}
      ${this.#open === "everywhere" ? this.#drawEverywhere() : nothing}
      ${this.#open === "password" ? this.#drawPassword() : nothing}`;
  }

  #drawList(): TemplateResult {
    const t = sessions[this.at.language];
    const words = shell[this.at.language];
    const { format } = this.at;
    if (this.#failure) {
      return html`<div class="empty" role="alert">
        <h3>${words.loadFailed}</h3>
        <p>${explain(this.#failure, this.at.language)}</p>
        <button @click=${() => this.load()}>${words.retry}</button>
      </div>`;
    }
    if (!this.#list) return skeleton(words.loading, 2);
    return html`<ul class="access-list card">
      ${this.#list.map((one) => {
        const where = this.#name(one.user_agent);
        const how = t.methods[one.method as keyof typeof t.methods] ?? "";
        return html`<li>
          <div class="access-what">
            <p class="row">
              <strong title=${one.user_agent ?? nothing}>${where}</strong>${one.current ? pill(t.here, "good") : nothing}
            </p>
            <p class="muted small">
              <span title=${format.dateTime(one.created_at)}>${t.since(format.relative(one.created_at), how)}</span> ·
              <span title=${format.dateTime(one.last_seen_at)}>${t.seen(format.relative(one.last_seen_at))}</span>
            </p>
          </div>
          <button aria-label=${t.endOne(where)} @click=${() => this.#end(one, where)}>${t.end}</button>
        </li>`;
      })}
    </ul>`;
  }

  #drawEverywhere(): TemplateResult {
    const t = sessions[this.at.language];
    const words = shell[this.at.language];
    return dialog({
      id: "everywhere",
      title: t.allTitle,
      closeLabel: words.close,
      onClose: () => this.#shut(),
      body: html`<ul class="access-effects">${t.allItems.map((item) => html`<li>${item}</li>`)}</ul>
        ${this.#drawFault()}`,
      actions: html`<button @click=${() => this.#shut()}>${words.cancel}</button>
        <button class="danger" ?disabled=${this.#busy} @click=${() => this.#endAll()}>${t.all}</button>`,
    });
  }

  #drawPassword(): TemplateResult {
    const t = sessions[this.at.language];
    const words = shell[this.at.language];
    const login = this.at.store.session.login ?? "";
    return dialog({
      id: "change-password",
      title: t.change,
      closeLabel: words.close,
      onClose: () => this.#shut(),
      onSubmit: () => void this.#change(login),
      body: html`<p>${t.passwordText}</p>
        <input hidden autocomplete="username" .value=${login} />
        ${this.#current.render(this.at.language, { label: t.current, autofocus: true })}
        ${this.#new.render(this.at.language, { login })} ${this.#drawFault()}`,
      actions: html`<button type="button" @click=${() => this.#shut()}>${words.cancel}</button>
        <button class="primary" ?disabled=${this.#busy}>${t.change}</button>`,
    });
  }

  #drawFault(): unknown {
    return this.#fault ? html`<p class="fault" role="alert">${explain(this.#fault, this.at.language)}</p>` : nothing;
  }

  async #end(one: Session, where: string): Promise<void> {
    try {
      if (one.current) {
        await this.at.api.call("delete", "/api/session");
        tellPage(this.at, "ownkey-signed-out");
        return;
      }
      await this.at.api.call("delete", "/api/sessions/{session_id}", { path: { session_id: one.id } });
      this.at.notices.done(sessions[this.at.language].ended(where));
    } catch (error) {
      this.at.notices.failed(error);
    }
    await this.load();
  }

  async #endAll(): Promise<void> {
    await this.#try(async () => {
      await this.at.api.call("delete", "/api/session/all");
      this.#shut();
      if (this.at.session) tellPage(this.at, "ownkey-signed-out");
      else this.at.notices.done(sessions[this.at.language].allDone);
    });
  }

  async #change(login: string): Promise<void> {
    const t = passwordTexts[this.at.language];
    if (!this.#current.value) return this.#current.refuse(t.missing, this.at.root);
    if (!this.#new.fits(login)) return this.#new.refuse(t.unmet, this.at.root);
    await this.#try(async () => {
      await this.at.api.post("/api/account/password", { current: this.#current.value, new: this.#new.value });
      this.#shut();
      this.at.notices.done(sessions[this.at.language].changed);
      await this.load();
    });
  }

  async #try(action: () => Promise<void>): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    this.#fault = null;
    this.at.requestUpdate();
    try {
      await action();
    } catch (error) {
      const code = error instanceof ApiError ? error.code : "";
      const { language, root } = this.at;
      if (code === "sign_in_failed") this.#current.refuse(explain(error, language), root);
      else if (code === "password_refused") this.#new.refuse(passwordTexts[language].refused, root);
      else this.#fault = error;
    }
    this.#busy = false;
    this.at.requestUpdate();
  }

  #show(what: "everywhere" | "password"): void {
    this.#open = what;
    this.at.requestUpdate();
  }

  /** Closes what is open; what was typed is gone. */
  #shut(): void {
    this.#open = this.#fault = null;
    for (const one of [this.#current, this.#new]) {
      one.clear();
      one.fault = null;
    }
    this.at.requestUpdate();
  }

  /** A browser as people call it: "Firefox on Linux". */
  #name(agent: string | null): string {
    const t = sessions[this.at.language];
    const find = (known: readonly (readonly [RegExp, string])[]) => known.find(([sign]) => sign.test(agent ?? ""))?.[1];
    const browser = find(BROWSERS);
    const system = find(SYSTEMS);
    if (browser && system) return t.on(browser, system);
    return browser ?? system ?? (agent || t.unknown);
  }
}

// Most name others too: the first that fits is the one.
const BROWSERS = [
  [/\bEdg/, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bFirefox\/|\bFxiOS\//, "Firefox"],
  [/Chrome\/|\bCriOS\//, "Chrome"],
  [/\bSafari\//, "Safari"],
] as const;
const SYSTEMS = [
  [/\bAndroid\b/, "Android"],
  [/\biPhone\b|\biPad\b/, "iOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b/, "macOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bLinux\b/, "Linux"],
] as const;
