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
import { Shell, type Tab } from "./core/shell.js";
import { Store } from "./core/store.js";
import type { Surroundings, View } from "./core/view.js";
import { panel } from "./i18n/panel.js";
import { KeysView } from "./views/keys.js";

/** What the panel's views have besides the frame. */
export interface PanelSurroundings extends Surroundings {
  readonly store: Store;
  /** On the server's own page, where there are passwords and sessions. */
  readonly session: boolean;
}

export class LlmSettingsPanel extends Shell implements PanelSurroundings {
  readonly store = new Store(
    () => this.api,
    (what) => {
      this.announce("change", { what });
      this.requestUpdate();
    },
  );

  // What is not on the first screen comes when its tab is opened.
  #openers: Record<keyof (typeof panel)["en"]["tabs"], () => View | Promise<View>> = {
    keys: () => new KeysView(this),
    routing: async () => new (await import("./views/routing.js")).RoutingView(this),
    usage: async () => new (await import("./views/usage.js")).UsageView(this),
    activity: async () => new (await import("./views/activity.js")).ActivityView(this),
    access: async () => new (await import("./views/access.js")).AccessView(this),
    account: async () => new (await import("./views/account.js")).AccountView(this),
  };

  protected override tabs(): readonly Tab[] {
    const names = panel[this.language].tabs;
    // A token made for looking at usage opens nothing else.
    const full = this.store.session.scopes.includes("settings");
    return (Object.keys(names) as (keyof typeof names)[])
      .filter((id) => full || id === "usage" || id === "activity")
      .map((id) => ({ id, label: names[id], open: this.#openers[id] }));
  }

  protected override heading(): string {
    return panel[this.language].heading;
  }

  protected override load(): Promise<void> {
    return this.store.load();
  }
}

if (!customElements.get("llm-settings-panel")) customElements.define("llm-settings-panel", LlmSettingsPanel);
