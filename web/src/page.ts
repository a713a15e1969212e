/**
 * The server's own page: signing in, one-time links, and then the panel or the administrators' view under a header.
 *
 * It draws into the document itself and not into a shadow root, where not every password manager looks.
 */
import { LitElement, html, nothing, type TemplateResult } from "lit";
import { keyed } from "lit/directives/keyed.js";
import { ApiClient, ApiError } from "./api/client.js";
import { prepareToExplain } from "./core/explain.js";
import { Format } from "./core/format.js";
import type { Language } from "./core/language.js";
import theme from "./core/theme.css?inline";
import { page } from "./i18n/page.js";
import { panel as panelTexts } from "./i18n/panel.js";
import { shell } from "./i18n/shell.js";
import { skeleton } from "./parts/controls.js";
import { receipt, type Receipt } from "./parts/receipt.js";
import { Choices } from "./page/choices.js";
import { controls, header } from "./page/header.js";
import { OneTimeLink } from "./page/one_time_link.js";
import layout from "./page/page.css?inline";
import { SignIn, outsideTrouble } from "./page/sign_in.js";
import { banner, card, type PageSurroundings, type Session } from "./page/surroundings.js";

type Shown =
  | { kind: "starting" }
  | { kind: "sign-in"; view: SignIn }
  | { kind: "link"; view: OneTimeLink }
  | { kind: "inside"; session: Session }
  | { kind: "goodbye"; receipt: Receipt };

/** The panel or the administrators' view, as far as this page uses it. */
interface Inner extends HTMLElement {
  tab: string;
  updateComplete: Promise<unknown>;
}

const LINK = /^#link=(okl-[\w-]+)$/;
const OUTSIDE = /^#error=(\w+)$/;
// What is open inside a tab may stand behind it.
const TAB = /^#([a-z]+)(?:\/[\w-]+)?$/;

export class OwnkeyPage extends LitElement implements PageSurroundings {
  readonly api = new ApiClient(new URL(/* @vite-ignore */ ".", import.meta.url).href);
  format = new Format("en");

  #choices = new Choices();
  #shown: Shown = { kind: "starting" };
  #here: "panel" | "admin" = /\/admin\/?$/.test(location.pathname) ? "admin" : "panel";
  #trouble = "";
  /** Tells the other windows of this browser that somebody else, or nobody, is signed in now. */
  #others = new BroadcastChannel("ownkey-session");

  get language(): Language {
    return this.#choices.language;
  }

  get root(): ParentNode {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.adoptedStyleSheets = [theme, layout].map((text) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
      return sheet;
    });
    addEventListener("hashchange", this.#onHash);
    addEventListener("pageshow", (event) => event.persisted && void this.#recheck());
    this.#others.onmessage = () => void this.#recheck();
    this.addEventListener("llm-settings-tab", (event) => this.#onTab((event as CustomEvent<{ tab: string }>).detail.tab));
    this.addEventListener("llm-settings-ready", () => void this.#entitle());
    this.addEventListener("llm-settings-auth-required", () => this.leave("ended"));
    this.addEventListener("ownkey-signed-out", () => this.#forget("signedOut"));
    this.addEventListener("ownkey-deleted", (event) => this.#forget((event as CustomEvent<Receipt>).detail));
    this.#start();
  }

  redraw(): void {
    this.requestUpdate();
  }

  /** Whoever is signed in sees their page; nobody is asked to sign in. Throws ApiError. */
  async enter(): Promise<void> {
    const signingIn = this.#shown.kind === "sign-in" || this.#shown.kind === "link";
    const ways = await this.api.get("/api/sign-in");
    if (!ways.signed_in) {
      // A sign-in that the server accepted, and a cookie that the browser did not keep.
      if (signingIn) throw new ApiError("cookie_lost", "The browser did not keep the cookie.", 401);
      this.leave();
      return;
    }
    const session = await this.api.get("/api/session");
    this.#close();
    this.#shown = { kind: "inside", session };
    if (signingIn) this.#others.postMessage("changed");
    await this.#fetchInner();
    await this.updateComplete;
    if (signingIn) this.querySelector<HTMLElement>("h1")?.focus();
  }

  /** Nobody is signed in any more, here and in the other windows; what is shown stays. Throws ApiError. */
  async signOut(): Promise<void> {
    try {
      await this.api.call("delete", "/api/session");
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    }
    this.#others.postMessage("ended");
  }

  /** As if the page had just been opened. */
  restart(): void {
    this.#close();
    this.#shown = { kind: "starting" };
    void this.#begin();
  }

  /** Nothing of the person stays on the page; the form to sign in takes its place. */
  leave(why?: "ended" | "signedOut", outside: string | null = null): void {
    if (this.#shown.kind === "sign-in" && !outside) return;
    this.#close();
    const view = new SignIn(this, why, outside);
    this.#shown = { kind: "sign-in", view };
    void view.load();
    if (why) void this.updateComplete.then(() => this.querySelector<HTMLElement>("h1")?.focus());
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  protected override willUpdate(): void {
    if (this.format.locale !== this.#choices.locale) this.format = new Format(this.#choices.locale);
  }

  protected override updated(): void {
    void this.#entitle();
  }

  protected override render(): TemplateResult {
    prepareToExplain(this.language);
    const shown = this.#shown;
    return html`<div class="root page" dir=${document.dir || "ltr"}>
      ${shown.kind === "inside"
        ? this.#drawInside(shown.session)
        : html`${this.#drawOutside(shown)}
            <footer class="page-foot">${controls(this.#choices, () => this.redraw())}</footer>`}
    </div>`;
  }

  #drawOutside(shown: Shown): TemplateResult {
    const t = page[this.language];
    if (shown.kind === "sign-in" || shown.kind === "link") return shown.view.render();
    if (shown.kind === "goodbye") return card(t.goodbye, html`<p>${t.goodbyeText}</p>${receipt(shown.receipt, this.language)}`);
    return card("Ownkey", skeleton(shell[this.language].loading, 2));
  }

  #drawInside(session: Session): TemplateResult {
    const t = page[this.language];
    const admin = this.#here === "admin";
    const refused = admin && !session.scopes.includes("admin");
    const parts = {
      session,
      choices: this.#choices,
      here: this.#here,
      base: this.api.base,
      redraw: () => this.redraw(),
      onSignOut: () => void this.#signOut(),
    };
    return html`${header(parts)}
      <main class="page-width">
        <h1 tabindex="-1">${admin ? t.administration : panelTexts[this.language].heading}</h1>
        ${this.#trouble ? banner("bad", this.#trouble) : nothing}
        ${refused
          ? html`<div class="empty card">
              <h2>${t.adminOnly}</h2>
              <p>${t.adminOnlyText}</p>
              <a href=${this.api.base}>${t.toSettings}</a>
            </div>`
          : keyed(
              session.user_id,
              admin
                ? html`<llm-admin-panel session tab=${tabOf(location.hash)} lang=${this.#choices.locale}></llm-admin-panel>`
                : html`<llm-settings-panel session tab=${tabOf(location.hash)} lang=${this.#choices.locale}></llm-settings-panel>`,
            )}
      </main>`;
  }

  /** What the address asks for: a one-time link, the way back from an identity provider, or a tab. */
  #start(): void {
    const { hash } = location;
    const token = LINK.exec(hash)?.[1];
    const outside = OUTSIDE.exec(hash)?.[1];
    // A link must not stay where it can be read, kept in the history or opened twice.
    if (hash.startsWith("#link=") || outside) history.replaceState(null, "", location.pathname + location.search);
    if (hash.startsWith("#link=")) {
      this.#close();
      const view = new OneTimeLink(this, token ?? "okl-");
      this.#shown = { kind: "link", view };
      void view.load();
    } else if (outside) {
      void this.#begin(outside);
    } else {
      void this.#begin();
    }
  }

  /** @param outside the code with which an identity provider's sign-in failed */
  async #begin(outside: string | null = null): Promise<void> {
    try {
      await this.enter();
      // Somebody who had to prove again who they are is still signed in when that fails.
      if (outside && this.#shown.kind === "inside") this.#say(outsideTrouble(this.language, outside));
      else if (outside) this.leave(undefined, outside);
    } catch (error) {
      // The form says by itself that the server is away, and tries again when asked.
      this.leave(undefined, error instanceof ApiError && error.code !== "offline" ? error.code : outside);
    }
  }

  async #fetchInner(): Promise<void> {
    try {
      await import(/* @vite-ignore */ new URL(`${this.#here}.js`, import.meta.url).href);
    } catch (error) {
      console.warn(error);
      this.#say(page[this.language].scriptMissing);
    }
  }

  /** Another window signed in or out, or the page came back from the browser's memory. */
  async #recheck(): Promise<void> {
    if (this.#shown.kind === "link") return;
    const before = this.#shown.kind === "inside" ? this.#shown.session : null;
    try {
      const { signed_in } = await this.api.get("/api/sign-in");
      if (!signed_in && before) this.leave("ended");
      if (!signed_in) return;
      const session = await this.api.get("/api/session");
      if (session.user_id !== before?.user_id) await this.enter();
    } catch (error) {
      console.warn(error);
    }
  }

  async #signOut(): Promise<void> {
    this.#trouble = "";
    try {
      await this.signOut();
    } catch {
      this.#say(page[this.language].signOutFailed);
      return;
    }
    this.#forget("signedOut");
  }

  #forget(why: "signedOut" | Receipt): void {
    history.replaceState(null, "", location.pathname);
    this.#others.postMessage("ended");
    if (why === "signedOut") {
      this.leave(why);
    } else {
      this.#close();
      this.#shown = { kind: "goodbye", receipt: why };
      void this.updateComplete.then(() => this.querySelector<HTMLElement>("h1")?.focus());
    }
  }

  #say(trouble: string): void {
    this.#trouble = trouble;
    this.requestUpdate();
  }

  #close(): void {
    if (this.#shown.kind === "sign-in" || this.#shown.kind === "link") this.#shown.view.close();
    this.#trouble = "";
    this.requestUpdate();
  }

  get #inner(): Inner | null {
    return this.querySelector<Inner>("llm-settings-panel, llm-admin-panel");
  }

  #onHash = (): void => {
    if (location.hash.startsWith("#link=")) {
      this.#start();
    } else if (this.#inner) {
      this.#inner.tab = tabOf(location.hash);
      void this.#entitle();
    }
  };

  #onTab(tab: string): void {
    history.pushState(null, "", `#${tab}`);
    void this.#entitle();
  }

  /** The window's title: the open tab, as the panel itself calls it. */
  async #entitle(): Promise<void> {
    // The panel says that it is ready before it draws itself.
    await null;
    const inner = this.#inner;
    await inner?.updateComplete;
    const open = inner?.shadowRoot?.getElementById("view")?.getAttribute("aria-label");
    const title = open ?? this.querySelector("h1")?.textContent?.trim() ?? "";
    const area = inner && this.#here === "admin" ? page[this.language].administration : "";
    document.title = [...new Set([title, area, "Ownkey"])].filter(Boolean).join(" · ");
  }
}

function tabOf(hash: string): string {
  return TAB.exec(hash)?.[1] ?? "";
}

customElements.define("ownkey-page", OwnkeyPage);
