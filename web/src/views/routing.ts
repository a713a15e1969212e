import { html, nothing, type TemplateResult } from "lit";
import type { Route, Settings } from "../core/store.js";
import { View } from "../core/view.js";
import { routing as texts } from "../i18n/routing.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { toggle } from "../parts/controls.js";
import chainStyles from "../parts/chain.css?inline";
import pickerStyles from "../parts/model_picker.css?inline";
import { lockMark } from "./routing_lock.js";
import styles from "./routing.css?inline";
import { PAYER_RULES } from "./routing_dialog.js";
import { TaskTable } from "./routing_tasks.js";
import { RouteTrial } from "./routing_trial.js";

/** A payer of null is the administrators' default. */
type Wish = Partial<Omit<Settings, "payer_chosen" | "payer"> & { payer: string | null }>;

/** Where requests go: in general, by task, and a way to see it before one is sent. */
export class RoutingView extends View<PanelSurroundings> {
  override readonly styles = chainStyles + pickerStyles + styles;

  #trial = new RouteTrial(this.at);
  #tasks = new TaskTable(this.at, (task) => this.#trial.show(task));
  /** The chain for which the rest was worked out: another one means that something has changed, here or elsewhere. */
  #chain: Route | null | undefined;
  /** What was just chosen, until the server has it or refuses it. */
  #wish: Wish = {};

  override enter(): void {
    this.#refresh();
  }

  override leave(): void {
    this.#chain = undefined;
    this.#trial.stop();
    this.#tasks.close();
  }

  override render(): TemplateResult {
    if (this.#chain !== undefined && this.#chain !== this.at.store.chain) queueMicrotask(() => this.#refresh());
    return html`${this.#drawGeneral()} ${this.#tasks.render()} ${this.#trial.render()}`;
  }

  /** What was worked out from the settings. */
  #refresh(): void {
    this.#chain = this.at.store.chain;
    void this.#tasks.loadInherited();
    void this.#trial.run();
  }

  #drawGeneral(): TemplateResult {
    const t = texts[this.at.language];
    const { payerRule, tasks } = words[this.at.language];
    const { policy } = this.at.store;
    const locked = this.at.store.isLocked("payer");
    const { payer, allow_fallback: fallback, default_task: task } = this.#settings();
    return html`<section class="section">
      <header><div><h2>${t.general}</h2><p>${t.generalHint}</p></div></header>
      <div class="card routing-general">
        <fieldset ?disabled=${locked}>
          <legend>${t.payer}${locked ? lockMark(this.at) : nothing}</legend>
          <div>
            ${PAYER_RULES.map(
              (one) => html`<label class="choice">
                <input type="radio" name="routing-payer" .checked=${one === payer}
                  @change=${() => this.#save({ payer: one })} />
                <span>${payerRule[one]}<small>${t.payerHints[one]}</small></span>
              </label>`,
            )}
            ${locked || payer === policy.defaults.payer
              ? nothing
              : html`<button class="plain routing-reset" @click=${() => this.#save({ payer: null })}>
                  ${t.payerReset(payerRule[policy.defaults.payer as (typeof PAYER_RULES)[number]])}
                </button>`}
          </div>
        </fieldset>
        <div>
          <span class="routing-name">${t.fallback}</span>
          <div>
            ${toggle(t.fallbackOn, fallback, (on) => this.#save({ allow_fallback: on }))}
            <small>${t.fallbackHint}</small>
          </div>
        </div>
        <div>
          <label class="routing-name" for="routing-default">${t.defaultTask}</label>
          <div>
            <select id="routing-default"
              @change=${(event: Event) => this.#save({ default_task: (event.target as HTMLSelectElement).value || null })}>
              <option value="" .selected=${!task}>${t.noTask}</option>
              ${[...new Set([...this.at.store.taskNames, ...(task ? [task] : [])])].map(
                (one) => html`<option value=${one} .selected=${one === task}>${t.treatAs(taskName(tasks, one))}</option>`,
              )}
            </select>
          </div>
        </div>
      </div>
    </section>`;
  }

  /** As stored, with what is being stored. */
  #settings(): Omit<Settings, "payer_chosen"> {
    const { settings, policy } = this.at.store;
    const wish = this.#wish;
    const payer = wish.payer === undefined ? settings.payer : (wish.payer ?? policy.defaults.payer);
    return { ...settings, ...wish, payer };
  }

  /** Shows the choice at once and takes it back when the server refuses it. */
  async #save(wish: Wish, undo = true): Promise<void> {
    const t = texts[this.at.language];
    const before = this.at.store.settings;
    this.at.notices.close();
    this.#wish = { ...this.#wish, ...wish };
    this.update();
    try {
      await this.at.store.change("settings", "patch", "/api/settings", { body: wish });
      const old = Object.fromEntries(
        Object.keys(wish).map((name) => [
          name,
          name === "payer" && !before.payer_chosen ? null : before[name as keyof Settings],
        ]),
      );
      this.at.notices.done(t.saved, undo ? () => void this.#save(old, false) : undefined);
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.#wish = {};
    this.update();
  }
}

