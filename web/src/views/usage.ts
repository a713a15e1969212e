/** What one person used. */
import type { TemplateResult } from "lit";
import { View } from "../core/view.js";
import { usageWords } from "../i18n/usage.js";
import type { PanelSurroundings } from "../panel.js";
import { UsageBrowser, usageStyles } from "../parts/usage_browser.js";

export class UsageView extends View<PanelSurroundings> {
  override readonly styles = usageStyles;

  #browser = new UsageBrowser(this.at, {
    path: "/api/usage",
    splits: ["provider", "model", "task", "payer"],
    words: () => usageWords(this.at.language),
    label: (provider) => this.at.store.label(provider),
  });

  override enter(): void {
    this.#browser.open();
  }

  override leave(): void {
    this.#browser.close();
  }

  override render(): TemplateResult {
    return this.#browser.render();
  }
}
