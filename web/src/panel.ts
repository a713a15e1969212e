/**
 * `<llm-settings-panel>`: a person's own keys, order, tasks, usage and access.
 *
 * ```html
 * <script type="module" src="https://llm.example/panel.js"></script>
 * <llm-settings-panel class="w-full"></llm-settings-panel>
 * ```
 *
 * Give it `getToken`, a function that returns a token for the person, or a promise of one. Events:
 * `llm-settings-ready`, `-change`, `-error`, `-auth-required`; no `detail` ever holds a secret.
 */
import { unsafeCSS, type CSSResultGroup } from "lit";
import { Shell, type Tab } from "./core/shell.js";
import { Store } from "./core/store.js";
import type { Surroundings } from "./core/view.js";
import { panel } from "./i18n/panel.js";
import { AccessView } from "./views/access.js";
import { AccountView } from "./views/account.js";
import { ActivityView } from "./views/activity.js";
import { KeysView } from "./views/keys.js";
import { RoutingView } from "./views/routing.js";
import { UsageView } from "./views/usage.js";
import styles from "./views/views.css?inline";

/** What the panel's views have besides the frame. */
export interface PanelSurroundings extends Surroundings {
  readonly store: Store;
  /** On the server's own page, where there are passwords and sessions. */
  readonly session: boolean;
}

export class LlmSettingsPanel extends Shell implements PanelSurroundings {
  static override styles: CSSResultGroup = [Shell.styles, unsafeCSS(styles)];

  readonly store = new Store(
    () => this.api,
    (what) => {
      this.announce("change", { what });
      this.requestUpdate();
    },
  );

  #views = {
    keys: new KeysView(this),
    routing: new RoutingView(this),
    usage: new UsageView(this),
    activity: new ActivityView(this),
    access: new AccessView(this),
    account: new AccountView(this),
  };

  protected override tabs(): readonly Tab[] {
    const names = panel[this.language].tabs;
    // A token made for looking at usage opens nothing else.
    const full = this.store.session.scopes.includes("settings");
    return (Object.keys(this.#views) as (keyof typeof names)[])
      .filter((id) => full || id === "usage" || id === "activity")
      .map((id) => ({ id, label: names[id], view: this.#views[id] }));
  }

  protected override heading(): string {
    return panel[this.language].heading;
  }

  protected override load(): Promise<void> {
    return this.store.load();
  }
}

if (!customElements.get("llm-settings-panel")) customElements.define("llm-settings-panel", LlmSettingsPanel);
