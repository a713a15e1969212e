/** A field for a password: what is typed can be looked at, and lives in this object and its input alone. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import type { Language } from "../core/language.js";
import { password as texts } from "../i18n/password.js";
import { field } from "./controls.js";
import { icon } from "./icons.js";

const LEAST = 10;
const MOST = 256;

export class PasswordField {
  value = "";
  fault: string | null = null;
  #shown = false;

  /** @param purpose tells password managers whether to fill in or to propose one */
  constructor(
    readonly id: string,
    private readonly purpose: "current-password" | "new-password",
    private readonly redraw: () => void,
  ) {}

  render(
    language: Language,
    options: { label?: string; login?: string; autofocus?: boolean } = {},
  ): TemplateResult {
    const t = texts[language];
    const rules = this.purpose === "new-password" ? this.#drawRules(language, options.login ?? "") : undefined;
    return field({
      id: this.id,
      label: options.label ?? (rules ? t.new : t.password),
      hint: rules,
      error: this.fault,
      control: (id, describedBy) => html`<div class="password">
        <input
          id=${id}
          name="password"
          type=${this.#shown ? "text" : "password"}
          autocomplete=${this.purpose}
          autocapitalize="off"
          spellcheck="false"
          maxlength=${MOST * 2}
          ?autofocus=${options.autofocus}
          aria-describedby=${describedBy || nothing}
          aria-invalid=${this.fault ? "true" : "false"}
          .value=${live(this.value)}
          @input=${(event: Event) => this.#typed(event)}
        />
        <button
          type="button"
          class="icon"
          aria-pressed=${this.#shown ? "true" : "false"}
          aria-label=${t.show}
          aria-controls=${id}
          @click=${() => {
            this.#shown = !this.#shown;
            this.redraw();
          }}
        >
          ${icon(this.#shown ? "eyeOff" : "eye")}
        </button>
      </div>`,
    });
  }

  /** Whether a new password may be sent; the server has the last word. */
  fits(login: string): boolean {
    return this.#rules(login).every((met) => met);
  }

  clear(): void {
    this.value = "";
    this.#shown = false;
  }

  /** Marks what is wrong and goes there. */
  refuse(fault: string, root: ParentNode): void {
    this.fault = fault;
    this.redraw();
    root.querySelector<HTMLInputElement>(`#${this.id}`)?.focus();
  }

  #typed(event: Event): void {
    this.value = (event.target as HTMLInputElement).value;
    this.fault = null;
    this.redraw();
  }

  // As the server counts: characters after normalisation, not bytes.
  #rules(login: string): [boolean, boolean, boolean] {
    const typed = this.value.normalize("NFKC");
    const letters = [...typed.toLowerCase()];
    return [
      letters.length >= LEAST && letters.length <= MOST,
      new Set(letters).size > 2,
      typed !== "" && typed.toLowerCase() !== login.normalize("NFKC").trim().toLowerCase(),
    ];
  }

  #drawRules(language: Language, login: string): TemplateResult {
    const t = texts[language];
    const met = this.#rules(login);
    return html`<span class="rules" role="list">
      ${[t.long(LEAST), t.varied, t.notLogin].map(
        (rule, at) => html`<span role="listitem" class=${met[at] ? "met" : ""}
          >${icon(met[at] ? "check" : "clock")}${rule}<span class="hidden"> (${met[at] ? t.met : t.open})</span></span
        >`,
      )}
    </span>`;
  }
}
