/** Asks a person to prove again who they are, whenever the server wants that (`fresh_sign_in_required`). */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import type { Surroundings } from "../core/view.js";
import { confirm } from "../i18n/confirm.js";
import { password as passwordTexts } from "../i18n/password.js";
import { shell } from "../i18n/shell.js";
import { dialog } from "./dialog.js";
import { PasswordField } from "./password.js";

interface Question {
  way: "password" | "outside" | "elsewhere";
  login: string;
  outside: readonly components["schemas"]["OidcProviderOut"][];
  /** Goes on with what was wanted, or gives it up. */
  settle: (confirmed: boolean) => void;
}

/**
 * One per view: run what may need a fresh sign-in through `run`, and draw `render()` beside the view's own dialogs.
 * The styles are those of `password.css`.
 */
export class ConfirmIdentity {
  #question: Question | null = null;
  #password: PasswordField;
  #fault: unknown = null;
  #busy = false;

  constructor(private readonly at: Surroundings) {
    this.#password = new PasswordField("confirm-password", "current-password", () => at.requestUpdate());
  }

  /** Does something, after a confirmation if the server asks for one. Throws ApiError, and AbortError if given up. */
  async run<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "fresh_sign_in_required") throw error;
    }
    if (!(await this.#ask())) throw new DOMException("Not confirmed.", "AbortError");
    return action();
  }

  /** Closes the question; what waits for it is given up. */
  close(): void {
    this.#question?.settle(false);
    this.#question = null;
    this.#password.clear();
    this.#password.fault = this.#fault = null;
    this.at.requestUpdate();
  }

  render(): TemplateResult | typeof nothing {
    const question = this.#question;
    if (!question) return nothing;
    const { language } = this.at;
    const t = confirm[language];
    const common = {
      id: "confirm-identity",
      title: t.title,
      closeLabel: shell[language].close,
      onClose: () => this.close(),
    };
    const cancel = html`<button type="button" @click=${() => this.close()}>${shell[language].cancel}</button>`;
    if (question.way === "password") {
      return dialog({
        ...common,
        onSubmit: () => void this.#confirm(question),
        body: html`<p>${t.text}</p>
          <input hidden autocomplete="username" .value=${question.login} />
          ${this.#password.render(language, { autofocus: true })}
          ${this.#fault ? html`<p class="fault" role="alert">${explain(this.#fault, language)}</p>` : nothing}`,
        actions: html`${cancel}<button class="primary" ?disabled=${this.#busy}>${t.confirm}</button>`,
      });
    }
    // A page that embeds the panel stays open beside ours.
    const inside = question.way !== "elsewhere";
    const links = inside
      ? question.outside.map((one) => ({
          href: new URL(`api/sign-in/oidc/${encodeURIComponent(one.id)}?confirm=true`, this.at.api.base).href,
          label: t.with(one.label),
        }))
      : [{ href: this.at.api.base, label: t.open }];
    return dialog({
      ...common,
      body: html`<p>${t.text}</p>
        <p>${inside ? t.outside : t.elsewhere}</p>
        ${links.map((one) => html`<p><a href=${one.href} target=${inside ? nothing : "_blank"} rel="noopener">${one.label}</a></p>`)}`,
      actions: cancel,
    });
  }

  async #ask(): Promise<boolean> {
    const { api } = this.at;
    const session = await api.get("/api/session");
    const inside = session.via === "session";
    const outside = inside && !session.has_password ? (await api.get("/api/sign-in")).oidc : [];
    return new Promise((settle) => {
      this.#question = {
        way: !inside ? "elsewhere" : session.has_password ? "password" : "outside",
        login: session.login ?? "",
        outside,
        settle,
      };
      this.at.requestUpdate();
    });
  }

  async #confirm(question: Question): Promise<void> {
    if (this.#busy) return;
    if (!this.#password.value) {
      this.#password.refuse(passwordTexts[this.at.language].missing, this.at.root);
      return;
    }
    this.#busy = true;
    this.#fault = null;
    this.at.requestUpdate();
    try {
      await this.at.api.post("/api/session/confirm", { password: this.#password.value });
      question.settle(true);
      this.close();
    } catch (error) {
      if (error instanceof ApiError && error.code === "sign_in_failed") {
        this.#password.clear();
        this.#password.refuse(explain(error, this.at.language), this.at.root);
      } else {
        this.#fault = error;
      }
    }
    this.#busy = false;
    this.at.requestUpdate();
  }
}
