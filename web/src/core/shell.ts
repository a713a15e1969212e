/** The frame of every element of ours: theme, language, tabs, states, notices. What is inside are views. */
import { LitElement, html, nothing, unsafeCSS, type CSSResultGroup, type PropertyValues, type TemplateResult } from "lit";
import { ApiClient, ApiError, type ClientEvents, type TokenSource } from "../api/client.js";
import { shell as words } from "../i18n/shell.js";
import { skeleton } from "../parts/controls.js";
import { explain, prepareToExplain } from "./explain.js";
import { Format } from "./format.js";
import { findLocale, type Language } from "./language.js";
import { Notices } from "./notices.js";
import theme from "./theme.css?inline";
import type { Surroundings, View } from "./view.js";

export interface Tab {
  id: string;
  label: string;
  /** Fetches and makes the view when the tab is opened for the first time. */
  open: () => View | Promise<View>;
}

type State = "waiting" | "loading" | "ready" | "signed-out" | "failed";

// A host sets `getToken` in the same turn in which it puts the element on the page, or soon after.
const HAND_OVER_SECONDS = 3;
// What was loaded longer ago is asked for again when the person comes back to the window.
const STALE_SECONDS = 30;
// A server that could not be reached is looked for again after this time, and after twice as long each time.
const LOOK_SECONDS = 3;
const LOOK_MOST_SECONDS = 30;
// A host that sets `getToken` anew whenever its token is refused would go on for ever.
const REFUSALS = 3;

export abstract class Shell extends LitElement implements Surroundings {
  static override properties = {
    getToken: { attribute: false },
    server: { type: String },
    session: { type: Boolean },
    tab: { type: String, reflect: true },
    sections: { type: String },
  };
  static override styles: CSSResultGroup = unsafeCSS(theme);
  static get observedAttributes(): string[] {
    return [...super.observedAttributes, "lang", "dir", "theme"];
  }

  /** Gives a token for this person: a panel token of the host's back end, or the host's own access token. */
  declare getToken?: TokenSource;
  /** Address of the Ownkey server; by default the one that the script came from. */
  declare server?: string;
  /** Set on the server's own page: the session cookie says who this is. */
  declare session: boolean;
  /** The open tab. */
  declare tab: string;
  /** Which tabs to show, by id, with spaces; default: all. */
  declare sections?: string;

  api!: ApiClient;
  format = new Format("en");
  language: Language = "en";
  readonly notices = new Notices(
    () => this.requestUpdate(),
    () => this.language,
    (error) => this.#onError(error),
  );

  #state: State = "waiting";
  #failure: unknown = null;
  #offline = !navigator.onLine;
  #looking = 0;
  #loadedAt = 0;
  #attempt = 0;
  /** Whether a token of this page was ever good enough. */
  #welcomed = false;
  #refusals = 0;
  #views = new Map<string, View>();
  #fetching = new Set<string>();
  /** The tab whose view could not be fetched. */
  #missing = "";
  #shown: View | null = null;
  /** The open tab as it was last brought into sight. */
  #marked = "";
  #handOver = 0;

  constructor() {
    super();
    this.session = false;
    this.tab = "";
  }

  /** The tabs that this person may see. Called when the data is there. */
  protected abstract tabs(): readonly Tab[];
  /** Fetches what several views need. Throws ApiError. */
  protected abstract load(): Promise<void>;
  /** The name of the whole, for screen readers. */
  protected abstract heading(): string;
  /** Above the tabs' content, on every tab. */
  protected banner(): unknown {
    return nothing;
  }

  get root(): ParentNode {
    return this.renderRoot;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("online", this.#onConnection);
    addEventListener("offline", this.#onConnection);
    document.addEventListener("visibilitychange", this.#onReturn);
    clearTimeout(this.#handOver);
    if (!this.session) {
      this.#handOver = window.setTimeout(() => {
        if (this.#state === "waiting") this.#fail(new ApiError("token_unavailable", "", 401));
      }, HAND_OVER_SECONDS * 1000);
    }
    if (this.hasUpdated) void this.#connect();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener("online", this.#onConnection);
    removeEventListener("offline", this.#onConnection);
    document.removeEventListener("visibilitychange", this.#onReturn);
    clearTimeout(this.#handOver);
    this.#setOffline(false);
    this.#leave();
  }

  override attributeChangedCallback(name: string, old: string | null, value: string | null): void {
    super.attributeChangedCallback(name, old, value);
    if (name === "lang" || name === "dir") this.requestUpdate();
  }

  protected override willUpdate(changed: PropertyValues): void {
    const { locale, language } = findLocale(this);
    this.language = language;
    if (locale !== this.format.locale) this.format = new Format(locale);
    if (!["getToken", "server", "session"].some((name) => changed.has(name))) return;
    if (this.#refusals < REFUSALS) void this.#connect();
  }

  protected override updated(): void {
    const strip = this.renderRoot.querySelector<HTMLElement>(".tabs");
    const open = strip?.querySelector<HTMLElement>("[aria-selected=true]");
    if (strip && open && open.id !== this.#marked) {
      this.#marked = open.id;
      reveal(strip, open);
    }
  }

  /** Opens another tab. */
  show(tab: string): void {
    if (tab === this.tab) return;
    this.tab = tab;
    this.dispatchEvent(new CustomEvent("llm-settings-tab", { bubbles: true, composed: true, detail: { tab } }));
  }

  /** Loads everything again, without hiding what is on the screen. */
  async refresh(): Promise<void> {
    const attempt = ++this.#attempt;
    try {
      await this.load();
      if (attempt !== this.#attempt) return;
      const first = this.#state !== "ready";
      this.#state = "ready";
      this.#failure = null;
      this.#welcomed = true;
      this.#refusals = 0;
      this.#loadedAt = Date.now();
      if (first) this.announce("ready");
    } catch (error) {
      if (attempt === this.#attempt) this.#fail(error);
    }
    this.requestUpdate();
  }

  /** Tells the host page. `detail` never holds a secret. */
  announce(what: "ready" | "change" | "error" | "auth-required", detail: Record<string, unknown> = {}): void {
    this.dispatchEvent(new CustomEvent(`llm-settings-${what}`, { bubbles: true, composed: true, detail }));
  }

  protected override render(): TemplateResult {
    prepareToExplain(this.language);
    const t = words[this.language];
    return html`
      <div class="root" part="root" dir=${getComputedStyle(this).direction} lang=${this.language}
        data-theme=${this.getAttribute("theme") ?? "auto"}>
        <div role="status">${this.#offline
          ? html`<div class="strip row"><p class="grow">${t.offline}</p>
              <button @click=${() => void this.refresh()}>${t.retry}</button></div>`
          : nothing}</div>
        ${this.#content()} ${this.notices.render()}
      </div>`;
  }

  #content(): TemplateResult {
    const t = words[this.language];
    if (this.#state === "waiting" || this.#state === "loading") {
      return html`<div class="body">${skeleton(t.loading, 5)}</div>`;
    }
    if (this.#state === "signed-out") {
      return this.#signedOut();
    }
    if (this.#state === "failed") {
      return html`<div class="body"><div class="empty" role="alert">
        <h3>${t.loadFailed}</h3>
        <p>${explain(this.#failure, this.language)}</p>
        <button class="primary" @click=${() => this.#connect()}>${t.retry}</button>
      </div></div>`;
    }
    const tabs = this.#visibleTabs();
    const open = tabs.find((one) => one.id === this.tab) ?? tabs[0]!;
    const view = this.#view(open);
    return html`
      ${tabs.length > 1 ? this.#drawTabs(tabs, open) : nothing}
      <div class="body" part="body" id="view" role=${tabs.length > 1 ? "tabpanel" : "group"}
        aria-label=${open.label} tabindex="-1">
        ${this.banner()} ${view ? view.render() : this.#missing === open.id ? this.#absent(open) : skeleton(t.loading, 5)}
      </div>`;
  }

  #signedOut(): TemplateResult {
    const t = words[this.language];
    const again = (): void => {
      this.#refusals = 0;
      void this.#connect();
    };
    if (this.session) {
      return html`<div class="body"><div class="empty" role="alert">
        <h3>${t.signedOut}</h3>
        <button class="primary" @click=${() => location.reload()}>${t.signInAgain}</button>
      </div></div>`;
    }
    const code = this.#failure instanceof ApiError ? this.#failure.code : "";
    const given = code !== "token_unavailable" && code !== "token_missing";
    // Who was never let in has not been signed out: the page that embeds this is not finished.
    const [title, text, note] = this.#welcomed
      ? [t.signedOut, t.hostSignIn, ""]
      : given
        ? [t.notAccepted, t.hostSignIn, t.notAcceptedNote]
        : [t.noToken, t.hostSignIn, t.noTokenNote];
    return html`<div class="body"><div class="empty" role="alert">
      <h3>${title}</h3>
      <p>${text}</p>
      ${note ? html`<p class="small">${note} <code>${code}</code></p>` : nothing}
      <button class="primary" @click=${again}>${t.retry}</button>
    </div></div>`;
  }

  #drawTabs(tabs: readonly Tab[], open: Tab): TemplateResult {
    return html`<div class="tabs" part="tabs" role="tablist" aria-label=${this.heading()} @keydown=${this.#onTabKey}>
      ${tabs.map(
        (one) =>
          html`<button
            role="tab"
            part="tab"
            id="tab-${one.id}"
            aria-controls="view"
            aria-selected=${one === open ? "true" : "false"}
            tabindex=${one === open ? 0 : -1}
            @click=${() => this.show(one.id)}
          >
            ${one.label}
          </button>`,
      )}
    </div>`;
  }

  #visibleTabs(): readonly Tab[] {
    const wanted = this.sections?.split(/[\s,]+/).filter(Boolean);
    const all = this.tabs();
    const chosen = wanted?.length ? all.filter((one) => wanted.includes(one.id)) : all;
    return chosen.length ? chosen : all;
  }

  /** The view of the open tab, or null while it is being fetched. */
  #view(tab: Tab): View | null {
    const view = this.#views.get(tab.id) ?? null;
    if (view) this.#enter(view);
    else if (this.#missing !== tab.id) void this.#fetch(tab);
    return view;
  }

  async #fetch(tab: Tab): Promise<void> {
    if (this.#fetching.has(tab.id)) return;
    this.#fetching.add(tab.id);
    try {
      const view = await tab.open();
      if (view.styles) {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(view.styles);
        (this.renderRoot as ShadowRoot).adoptedStyleSheets.push(sheet);
      }
      this.#views.set(tab.id, view);
    } catch (error) {
      // The view's file did not come: the connection, or a newer version on the server.
      console.warn(error);
      this.#missing = tab.id;
    }
    this.#fetching.delete(tab.id);
    this.requestUpdate();
  }

  #absent(tab: Tab): TemplateResult {
    const t = words[this.language];
    const again = (): void => {
      this.#missing = "";
      void this.#fetch(tab);
    };
    return html`<div class="empty" role="alert">
      <h3>${t.loadFailed}</h3>
      <p>${explain(new ApiError("part_missing", ""), this.language)}</p>
      <button class="primary" @click=${again}>${t.retry}</button>
    </div>`;
  }

  #enter(view: View): void {
    // A last drawing after the element was taken away must not start anything.
    if (view === this.#shown || !this.isConnected) return;
    this.#leave();
    this.#shown = view;
    // Not while drawing: a view that starts loading asks to be drawn again.
    queueMicrotask(() => view === this.#shown && view.enter());
  }

  #leave(): void {
    this.#shown?.leave();
    this.#shown = null;
  }

  async #connect(): Promise<void> {
    if (!this.session && !this.getToken) return;
    const base = new URL(this.server ? this.server.replace(/\/?$/, "/") : ".", this.server ? document.baseURI : import.meta.url);
    const events: ClientEvents = {
      refused: (error) => this.api === api && this.#refused(error),
      reached: () => this.api === api && this.#setOffline(false),
    };
    const api = new ApiClient(base.href, this.session ? null : this.getToken!, events);
    this.api = api;
    this.#leave();
    this.#state = "loading";
    this.requestUpdate();
    await this.refresh();
  }

  #fail(error: unknown): void {
    this.#failure = error;
    if (error instanceof ApiError) this.#onError(error);
    // What is on the screen stays there while the connection is away.
    if (this.#state === "ready" && this.#offline) return;
    if (this.#state !== "signed-out") this.#state = "failed";
    this.requestUpdate();
  }

  #onError(error: ApiError): void {
    if (error.code === "offline") this.#setOffline(true);
    if (error.status === 401) this.#refused(error);
    else this.announce("error", { code: error.code, message: error.message });
    this.requestUpdate();
  }

  /** Whatever was asked for, nobody is signed in: nothing on the screen can succeed any more. */
  #refused(error: ApiError): void {
    // A password that was wrong says nothing of the session.
    if (this.#state === "signed-out" || error.code === "sign_in_failed") return;
    this.#failure = error;
    this.#state = "signed-out";
    this.#refusals++;
    this.notices.close();
    this.#leave();
    this.announce("auth-required", { code: error.code });
    this.requestUpdate();
  }

  /** While the server cannot be reached it is looked for, and the strip that says so goes by itself. */
  #setOffline(offline: boolean, seconds = LOOK_SECONDS): void {
    if (offline === this.#offline && (!offline || this.#looking)) return;
    this.#offline = offline;
    clearTimeout(this.#looking);
    this.#looking = 0;
    if (offline) this.#looking = window.setTimeout(() => void this.#look(seconds), seconds * 1000);
    this.requestUpdate();
  }

  async #look(seconds: number): Promise<void> {
    this.#looking = 0;
    try {
      await this.api.get("/api/session");
    } catch (error) {
      if (error instanceof ApiError && error.code === "offline" && this.isConnected) {
        return this.#setOffline(true, Math.min(seconds * 2, LOOK_MOST_SECONDS));
      }
    }
    if (this.#state !== "signed-out") await this.refresh();
  }

  #onConnection = (): void => {
    if (!navigator.onLine) this.#setOffline(true);
    else if (this.#state !== "waiting" && this.#state !== "signed-out") void this.refresh();
    this.requestUpdate();
  };

  #onReturn = (): void => {
    if (document.visibilityState !== "visible" || this.#state !== "ready") return;
    if (Date.now() - this.#loadedAt > STALE_SECONDS * 1000) void this.refresh();
  };

  #onTabKey = (event: KeyboardEvent): void => {
    const tabs = this.#visibleTabs();
    const rtl = getComputedStyle(this).direction === "rtl";
    const forward = rtl ? "ArrowLeft" : "ArrowRight";
    const back = rtl ? "ArrowRight" : "ArrowLeft";
    const at = Math.max(0, tabs.findIndex((one) => one.id === this.tab));
    const moves: Record<string, number> = { [forward]: at + 1, [back]: at - 1, Home: 0, End: tabs.length - 1 };
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const target = tabs.at(next % tabs.length)!;
    this.show(target.id);
    void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>(`#tab-${target.id}`)?.focus());
  };
}

/** Scrolls the strip, and nothing else, until the tab is in it. */
function reveal(strip: HTMLElement, tab: HTMLElement): void {
  const [frame, box] = [strip.getBoundingClientRect(), tab.getBoundingClientRect()];
  // A part of the next tab says that there is more.
  const room = Math.min(40, (frame.width - box.width) / 2);
  if (box.left < frame.left + room) strip.scrollLeft -= frame.left + room - box.left;
  else if (box.right > frame.right - room) strip.scrollLeft += box.right - frame.right + room;
}
