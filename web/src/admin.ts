/** `<llm-admin-panel>`: what administrators watch and set. No secret is in anything that it can ask for. */
import type { Tab } from "./core/shell.js";
import { Shell } from "./core/shell.js";

export class LlmAdminPanel extends Shell {
  protected override tabs(): readonly Tab[] {
    return [];
  }

  protected override heading(): string {
    return "";
  }

  protected override async load(): Promise<void> {}
}

if (!customElements.get("llm-admin-panel")) customElements.define("llm-admin-panel", LlmAdminPanel);
