/** A one-time link: the first administrator, somebody invited, or somebody who needs a new password. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import { explain } from "../core/explain.js";
import { page } from "../i18n/page.js";
import { password as passwordTexts } from "../i18n/password.js";
import { shell } from "../i18n/shell.js";
import { field, skeleton } from "../parts/controls.js";
import { PasswordField } from "../parts/password.js";
import { insecure } from "./insecure.js";
import { banner, card, type PageSurroundings } from "./surroundings.js";

type Purpose = "first_admin" | "invite" | "reset";

export class OneTimeLink {
  /** What the link is for; null while that is being asked. */
  #purpose: Purpose | null = null;
  #secure = true;
  #failure: unknown = null;
  /** Who is signed in in this browser, when the link is not theirs: opening it would sign them out unasked. */
  #other: string | null = null;
  #login = "";
  #loginFault: string | null = null;
  #password: PasswordField;
  #busy = false;
  #trouble: unknown = null;

  /** @param token the link's secret, which lives here and nowhere else */
  constructor(
    private readonly at: PageSurroundings,
    private token: string,
  ) {
    this.#password = new PasswordField("page-password", "new-password", () => at.redraw());
  }

  async load(): Promise<void> {
    this.#failure = null;
    this.at.redraw();
    try {
      const ways = await this.at.api.get("/api/sign-in");
      this.#secure = ways.secure;
      // Not sent where anybody could read it on the way.
      if (this.#secure) {
        const { purpose, login } = await this.at.api.post("/api/sign-in/link/check", { token: this.token });
        this.#purpose = purpose as Purpose;
        this.#login = login;
        if (ways.signed_in) this.#other = await this.#findOther(login);
      }
    } catch (error) {
      this.#failure = error;
    }
    this.at.redraw();
  }

  /** The token and what was typed are gone. */
  close(): void {
    this.token = "";
    this.#password.clear();
  }

  render(): TemplateResult {
    const { language } = this.at;
    const t = page[language];
    if (!this.#secure) return insecure(this.at);
    if (this.#failure) return this.#drawFailure();
    const purpose = this.#purpose;
    if (!purpose) return card(t.signIn, skeleton(shell[language].loading, 2));
    if (this.#other !== null) return this.#drawOther(this.#other);
    return card(
      t.linkTitle[purpose],
      html`<p>${t.linkText[purpose]}</p>
        ${this.#trouble ? banner("bad", explain(this.#trouble, language)) : nothing}
        <form class="stack" novalidate @submit=${(event: SubmitEvent) => this.#submit(event)}>
          ${field({
            id: "page-login",
            label: t.login,
            error: this.#loginFault,
            control: (id, describedBy) => html`<input
              id=${id}
              name="username"
              autocomplete="username"
              autocapitalize="none"
              spellcheck="false"
              maxlength="255"
              ?readonly=${purpose !== "first_admin"}
              aria-describedby=${describedBy || nothing}
              aria-invalid=${this.#loginFault ? "true" : "false"}
              .value=${this.#login}
              @input=${(event: Event) => this.#typed((event.target as HTMLInputElement).value)}
            />`,
          })}
          ${this.#password.render(language, { login: this.#login })}
          <button class="primary" aria-disabled=${this.#busy ? "true" : "false"}>
            ${this.#busy ? t.busy : t.linkSubmit[purpose]}
          </button>
        </form>`,
    );
  }

  async #findOther(login: string): Promise<string | null> {
    const session = await this.at.api.get("/api/session");
    return session.login === login ? null : (session.display_name ?? session.login ?? session.user_id);
  }

  #drawOther(name: string): TemplateResult {
    const t = page[this.at.language];
    return card(
      t.otherTitle,
      html`<p>${t.otherText(name, this.#login)}</p>
        ${this.#trouble ? banner("bad", explain(this.#trouble, this.at.language)) : nothing}
        <button class="primary" aria-disabled=${this.#busy ? "true" : "false"} @click=${() => this.#signOut()}>${t.otherGoOn}</button>
        <button @click=${() => this.at.restart()}>${t.otherStay(name)}</button>`,
    );
  }

  async #signOut(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    this.#trouble = null;
    try {
      await this.at.signOut();
      this.#other = null;
    } catch (error) {
      this.#trouble = error;
    }
    this.#busy = false;
    this.at.redraw();
  }

  #drawFailure(): TemplateResult {
    const { language } = this.at;
    const t = page[language];
    if (this.#failure instanceof ApiError && this.#failure.code === "link_invalid") {
      return card(
        t.linkInvalid,
        html`<p>${t.linkInvalidText}</p>
          <button @click=${() => this.at.restart()}>${t.toSignIn}</button>`,
      );
    }
    return card(
      t.unreachable,
      html`<p>${explain(this.#failure, language)}</p>
        <button class="primary" @click=${() => this.load()}>${shell[language].retry}</button>`,
    );
  }

  #typed(login: string): void {
    this.#login = login;
    this.#loginFault = null;
    this.at.redraw();
  }

  async #submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (this.#busy) return;
    const { language, root } = this.at;
    const data = new FormData(event.target as HTMLFormElement);
    const login = (this.#login = String(data.get("username") ?? "").trim());
    const password = (this.#password.value = String(data.get("password") ?? ""));
    if (!login) {
      this.#refuseLogin(page[language].loginMissing);
      return;
    }
    if (!this.#password.fits(login)) {
      this.#password.refuse(passwordTexts[language].unmet, root);
      return;
    }
    this.#busy = true;
    this.#trouble = null;
    this.at.redraw();
    try {
      const changed = this.#purpose === "first_admin" ? { login } : {};
      await this.at.api.post("/api/sign-in/link", { token: this.token, password, ...changed });
      this.close();
      await this.at.enter();
    } catch (error) {
      const code = error instanceof ApiError ? error.code : "";
      if (code === "link_invalid") this.#failure = error;
      else if (code === "login_taken") this.#refuseLogin(page[language].linkTaken);
      else if (code === "password_refused") this.#password.refuse(passwordTexts[language].refused, root);
      else this.#trouble = error;
    }
    this.#busy = false;
    this.at.redraw();
  }

  #refuseLogin(fault: string): void {
    this.#loginFault = fault;
    this.at.redraw();
    this.at.root.querySelector<HTMLElement>("#page-login")?.focus();
  }
}
