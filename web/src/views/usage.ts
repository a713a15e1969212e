/** What one person used, and their latest requests. */
import { html, nothing, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import { usageWords } from "../i18n/usage.js";
import type { PanelSurroundings } from "../panel.js";
import { UsageBrowser, usageStyles } from "../parts/usage_browser.js";
import { Limits } from "./limits.js";
import limitStyles from "./limits.css?inline";
import { Requests } from "./requests.js";
import requestStyles from "./requests.css?inline";

export class UsageView extends View<PanelSurroundings> {
  override readonly styles = usageStyles + requestStyles + limitStyles;

  #limits = new Limits(this.at);
  #browser = new UsageBrowser(this.at, {
    path: "/api/usage",
    splits: ["provider", "model", "task", "credential", "payer"],
    words: () => usageWords(this.at.language),
    label: (provider) => this.at.store.label(provider),
    open: (split) =>
      split === "provider" || split === "task"
        ? (row) => this.#requests.pick({ provider: row.provider ?? "", task: row.task ?? "", outcome: "" })
        : null,
  });
  #requests = new Requests(this.at);

  override enter(): void {
    this.#limits.enter();
    this.#browser.open();
    this.#requests.enter();
  }

  override leave(): void {
    this.#limits.leave();
    this.#browser.close();
    this.#requests.leave();
  }

  override render(): TemplateResult {
    // Below what is still loading they would be pushed down by it.
    return html`${this.#limits.render()} ${this.#browser.render()} ${this.#browser.settled ? this.#requests.render() : nothing}`;
  }
}
