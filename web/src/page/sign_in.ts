/** Signing in with a name and a password, or through an identity provider. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import type { Language } from "../core/language.js";
import { page } from "../i18n/page.js";
import { password as passwordTexts } from "../i18n/password.js";
import { shell } from "../i18n/shell.js";
import { field, skeleton } from "../parts/controls.js";
import { PasswordField } from "../parts/password.js";
import { insecure } from "./insecure.js";
import { banner, card, type PageSurroundings } from "./surroundings.js";

type Ways = components["schemas"]["SignInWaysOut"];

export class SignIn {
  #ways: Ways | null = null;
  #failure: unknown = null;
  #login = "";
  #loginFault: string | null = null;
  #password: PasswordField;
  #busy = false;
  #trouble: unknown = null;
  /** When the next attempt is possible, in milliseconds. */
  #waitUntil = 0;
  #timer = 0;

  /**
   * @param why what brought the person here
   * @param outside the code with which an identity provider's sign-in failed
   */
  constructor(
    private readonly at: PageSurroundings,
    private readonly why: "ended" | "signedOut" | undefined,
    private readonly outside: string | null,
  ) {
    this.#password = new PasswordField("page-password", "current-password", () => at.redraw());
  }

  async load(): Promise<void> {
    this.#failure = null;
    this.at.redraw();
    try {
      this.#ways = await this.at.api.get("/api/sign-in");
    } catch (error) {
      this.#failure = error;
    }
    this.at.redraw();
    // Not on a phone, where the keyboard would cover the page; and not where a message has to be read first.
    if (this.why || this.outside || !matchMedia("(pointer: fine)").matches) return;
    await this.at.updateComplete;
    if (document.activeElement === document.body) this.at.root.querySelector<HTMLElement>("#page-login")?.focus();
  }

  /** What was typed goes, and the clock stops. */
  close(): void {
    clearInterval(this.#timer);
    this.#password.clear();
  }

  render(): TemplateResult {
    const { language } = this.at;
    const t = page[language];
    const ways = this.#ways;
    if (this.#failure) {
      const offline = this.#failure instanceof ApiError && this.#failure.code === "offline";
      return card(
        offline ? t.unreachable : shell[language].loadFailed,
        html`<p>${offline ? t.unreachableText : explain(this.#failure, language)}</p>
          <button class="primary" @click=${() => this.load()}>${shell[language].retry}</button>`,
      );
    }
    if (!ways) return card(t.signIn, skeleton(shell[language].loading, 2));
    if (!ways.secure) return insecure(this.at);
    return card(
      t.signIn,
      html`${this.#drawBanner()} ${ways.local ? this.#drawForm() : nothing}
        ${ways.local && ways.oidc.length ? html`<p class="page-or"><span>${t.or}</span></p>` : nothing}
        ${ways.oidc.map(
          (one) =>
            html`<a class="page-way" href=${new URL(`api/sign-in/oidc/${encodeURIComponent(one.id)}`, this.at.api.base).href}
              >${t.with(one.label)}</a
            >`,
        )}
        ${ways.local ? html`<p class="muted small">${t.forgotten}</p>` : nothing}`,
    );
  }

  #drawBanner(): unknown {
    const t = page[this.at.language];
    const trouble = this.#trouble;
    if (this.#waiting()) {
      const time = new Intl.DateTimeFormat(this.at.format.locale, { timeStyle: "medium" }).format(this.#waitUntil);
      return banner("bad", t.locked(time));
    }
    if (trouble instanceof ApiError && trouble.code === "user_suspended") return banner("bad", t.suspended);
    if (trouble instanceof ApiError && trouble.code === "cross_site_request") return banner("bad", t.crossSite);
    if (trouble instanceof ApiError && trouble.code === "cookie_lost") return banner("bad", t.cookieLost);
    if (trouble) return banner("bad", explain(trouble, this.at.language));
    if (this.outside) return banner("bad", outsideTrouble(this.at.language, this.outside));
    return this.why ? banner("plain", t[this.why]) : nothing;
  }

  #drawForm(): TemplateResult {
    const { language } = this.at;
    const t = page[language];
    const waiting = this.#waiting();
    return html`<form class="stack" novalidate @submit=${(event: SubmitEvent) => this.#submit(event)}>
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
          aria-describedby=${describedBy || nothing}
          aria-invalid=${this.#loginFault ? "true" : "false"}
          .value=${this.#login}
          @input=${(event: Event) => this.#typed((event.target as HTMLInputElement).value)}
        />`,
      })}
      ${this.#password.render(language)}
      <button class="primary" aria-disabled=${waiting || this.#busy ? "true" : "false"}>
        ${waiting ? t.waits(this.#left()) : this.#busy ? t.busy : t.signIn}
      </button>
    </form>`;
  }

  #typed(login: string): void {
    this.#login = login;
    this.#loginFault = null;
    this.at.redraw();
  }

  async #submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (this.#busy || this.#waiting()) return;
    // As it stands in the form: a password manager may have filled it in without telling.
    const data = new FormData(event.target as HTMLFormElement);
    const login = (this.#login = String(data.get("username") ?? "").trim());
    const password = (this.#password.value = String(data.get("password") ?? ""));
    this.#loginFault = login ? null : page[this.at.language].loginMissing;
    if (!login) {
      this.at.redraw();
      this.at.root.querySelector<HTMLElement>("#page-login")?.focus();
      return;
    }
    if (!password) {
      this.#password.refuse(passwordTexts[this.at.language].missing, this.at.root);
      return;
    }
    this.#busy = true;
    this.#trouble = null;
    this.at.redraw();
    try {
      await this.at.api.post("/api/sign-in", { login, password });
      this.#password.clear();
      await this.at.enter();
    } catch (error) {
      this.#refused(error);
    }
    this.#busy = false;
    this.at.redraw();
  }

  #refused(error: unknown): void {
    if (error instanceof ApiError && error.code === "sign_in_failed") {
      this.#password.clear();
      this.#password.refuse(explain(error, this.at.language), this.at.root);
    } else if (error instanceof ApiError && error.status === 429) {
      this.#waitUntil = Date.now() + (error.retryAfterSeconds ?? 1) * 1000;
      clearInterval(this.#timer);
      this.#timer = window.setInterval(() => {
        if (!this.#waiting()) clearInterval(this.#timer);
        this.at.redraw();
      }, 1000);
    } else {
      this.#trouble = error;
    }
  }

  #waiting(): boolean {
    return this.#waitUntil > Date.now();
  }

  /** What is left of the wait, as minutes and seconds. */
  #left(): string {
    const seconds = Math.max(0, Math.ceil((this.#waitUntil - Date.now()) / 1000));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }
}

/** Why signing in through an identity provider failed, by the code that came back. */
export function outsideTrouble(language: Language, code: string): string {
  const t = page[language];
  const known: Record<string, string> = {
    ...t.outsideErrors,
    user_suspended: t.suspended,
  };
  return known[code] ?? t.outsideErrors.failed;
}
