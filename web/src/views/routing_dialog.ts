/** The dialog for one task: where it goes, with which model and key, and who pays. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import { explain } from "../core/explain.js";
import type { Hop, Provider, Task } from "../core/store.js";
import { routing as texts } from "../i18n/routing.js";
import { shell } from "../i18n/shell.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { field } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import { defaultModel } from "../parts/default_model.js";
import { ModelPicker } from "../parts/model_picker.js";

/** What a task's override says. */
export type TaskChoice = Omit<Task, "task" | "version">;

/** While it is being edited, an empty provider means: inherit. */
interface Draft extends TaskChoice {
  /** null: a new one, whose name is being typed. */
  task: string | null;
  name: string;
  /** Where the task goes while it says nothing. */
  inherited: Hop | null;
}

type Save = (task: string, change: TaskChoice | null) => Promise<void>;
type Fault = "badName" | "takenName" | "missingProvider";

const NAME = /^[a-z][a-z0-9_-]{0,39}$/;

export const PAYER_RULES = ["own_then_shared", "own_only", "shared_only"] as const;

export class TaskDialog {
  #draft: Draft | null = null;
  #fault: Fault | null = null;
  #failure: unknown = null;
  #busy = false;
  #picker: ModelPicker;

  constructor(
    private readonly at: PanelSurroundings,
    private readonly save: Save,
  ) {
    this.#picker = new ModelPicker(at);
  }

  /** @param task null for a new one @param own the override so far */
  open(task: string | null, own: Task | null | undefined, inherited: Hop | null = null): void {
    const { provider = "", model = null, credential_id = null, payer = null, allow_fallback = null } = own ?? {};
    this.#draft = { task, name: task ?? "", provider, model, credential_id, payer, allow_fallback, inherited };
    this.#fault = this.#failure = null;
    this.at.requestUpdate();
  }

  close(): void {
    this.#picker.close();
    this.#draft = null;
    this.at.requestUpdate();
  }

  render(): TemplateResult | typeof nothing {
    const draft = this.#draft;
    if (!draft) return nothing;
    const t = texts[this.at.language];
    const frame = shell[this.at.language];
    return html`${dialog({
      id: "routing-task-dialog",
      title: draft.task ? taskName(words[this.at.language].tasks, draft.task) : t.newTask,
      closeLabel: frame.close,
      onClose: () => this.close(),
      onSubmit: () => void this.#submit(draft),
      body: html`
        ${draft.task ? nothing : this.#drawName(draft)} ${this.#drawProvider(draft)}
        ${draft.provider ? this.#drawRest(draft) : nothing}
        ${this.#failure
          ? html`<p class="fault" role="alert">${icon("alert")}${explain(this.#failure, this.at.language)}</p>`
          : nothing}`,
      actions: html`<button type="button" @click=${() => this.close()}>${frame.cancel}</button>
        <button class="primary" ?disabled=${this.#busy}>${frame.save}</button>`,
    })}
    ${this.#picker.render()}`;
  }

  #drawName(draft: Draft): TemplateResult {
    const t = texts[this.at.language];
    const fault = this.#fault === "badName" || this.#fault === "takenName" ? this.#fault : null;
    return field({
      id: "task-name",
      label: t.name,
      hint: t.nameHint(draft.name || "…"),
      error: fault && t[fault],
      control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} autofocus autocomplete="off"
        autocapitalize="off" spellcheck="false" maxlength="40" aria-invalid=${fault ? "true" : "false"} .value=${draft.name}
        @input=${(event: Event) => this.#set({ name: (event.target as HTMLInputElement).value.trim().toLowerCase() })} />`,
    });
  }

  #drawProvider(draft: Draft): TemplateResult {
    const t = texts[this.at.language];
    const { store } = this.at;
    const fault = this.#fault === "missingProvider";
    const offered = store.providers.filter((one) => one.allowed || one.id === draft.provider);
    const held = (one: Provider): boolean => store.keysOf(one.id).length > 0;
    const group = (label: string, members: Provider[]): unknown =>
      members.length
        ? html`<optgroup label=${label}>
            ${members.map((one) => this.#option(one.id, one.label, one.id === draft.provider))}
          </optgroup>`
        : nothing;
    const inherit = draft.inherited ? t.inheritFrom(store.label(draft.inherited.provider)) : t.inherit;
    return field({
      id: "task-provider",
      label: t.columns.provider,
      hint: draft.provider || !this.#stands(draft) ? nothing : t.inheritHint,
      error: fault ? t.missingProvider : null,
      control: (id, describedBy) => html`<select id=${id} aria-describedby=${describedBy} aria-invalid=${fault ? "true" : "false"}
        @change=${(event: Event) =>
          this.#set({ provider: (event.target as HTMLSelectElement).value, model: null, credential_id: null })}>
        ${this.#option("", this.#stands(draft) ? inherit : t.chooseProvider, !draft.provider)}
        ${offered.some((one) => one.id === draft.provider) || !draft.provider
          ? nothing
          : this.#option(draft.provider, draft.provider, true)}
        ${group(t.withKey, offered.filter(held))} ${group(t.withoutKey, offered.filter((one) => !held(one)))}
      </select>`,
    });
  }

  #drawRest(draft: Draft): TemplateResult {
    const t = texts[this.at.language];
    const { settings } = this.at.store;
    const { payerRule } = words[this.at.language];
    const task = draft.task ?? draft.name;
    const keys = this.at.store.keysOf(draft.provider);
    const model = draft.model ?? defaultModel(this.at, draft.provider, task);
    const pick = (): void =>
      this.#picker.open({
        provider: draft.provider,
        credential: draft.credential_id,
        chosen: draft.model,
        task,
        pick: (chosen) => this.#set({ model: chosen }),
      });
    const fallback = draft.allow_fallback;
    return html`
      <div class="field">
        <span class="routing-name" id="task-model-label">${t.model}</span>
        <button type="button" class="routing-model" id="task-model" aria-labelledby="task-model-label task-model"
          aria-haspopup="dialog" @click=${pick}>
          <span><code>${model ?? "—"}</code>${draft.model ? nothing : html` <small>${t.standard}</small>`}</span>
          ${icon("chevron")}
        </button>
      </div>
      ${keys.length > 1
        ? this.#select("task-key", t.columns.key, draft.credential_id ?? "", (value) => ({ credential_id: value || null }), [
            ["", t.anyKey],
            ...keys.map((one): [string, string] => [one.id, [one.label, one.hint].filter(Boolean).join(" · ")]),
          ])
        : nothing}
      ${this.#select(
        "task-fallback",
        t.fallback,
        fallback === null ? "" : String(fallback),
        (value) => ({ allow_fallback: value ? value === "true" : null }),
        [
          ["", t.asGeneral(settings.allow_fallback ? t.fallbackOn : t.stop)],
          ["true", t.fallbackOn],
          ["false", t.stop],
        ],
      )}
      ${this.#select("task-payer", t.payer, draft.payer ?? "", (value) => ({ payer: value || null }), [
        ["", t.asGeneral(payerRule[settings.payer as (typeof PAYER_RULES)[number]])],
        ...(this.at.store.isLocked("payer") ? [] : PAYER_RULES.map((one): [string, string] => [one, payerRule[one]])),
      ])}`;
  }

  #select(
    id: string,
    label: string,
    chosen: string,
    change: (value: string) => Partial<Draft>,
    options: [string, string][],
  ): TemplateResult {
    return field({
      id,
      label,
      control: () => html`<select id=${id} @change=${(event: Event) => this.#set(change((event.target as HTMLSelectElement).value))}>
        ${options.map(([value, text]) => this.#option(value, text, value === chosen))}
      </select>`,
    });
  }

  #option(value: string, text: string, chosen: boolean): TemplateResult {
    return html`<option value=${value} .selected=${chosen}>${text}</option>`;
  }

  #set(change: Partial<Draft>): void {
    this.#draft = { ...this.#draft!, ...change };
    this.#fault = null;
    this.at.requestUpdate();
  }

  #check(draft: Draft): Fault | null {
    if (!draft.task && !NAME.test(draft.name)) return "badName";
    if (!draft.task && this.at.store.taskNames.includes(draft.name)) return "takenName";
    return draft.provider || this.#stands(draft) ? null : "missingProvider";
  }

  /** Whether the task goes somewhere without an override. */
  #stands({ task }: Draft): boolean {
    return task !== null && this.at.store.standingTasks.includes(task);
  }

  async #submit(draft: Draft): Promise<void> {
    if (this.#busy) return;
    this.#fault = this.#check(draft);
    this.at.requestUpdate();
    if (this.#fault) {
      this.at.root.querySelector<HTMLElement>(this.#fault === "missingProvider" ? "#task-provider" : "#task-name")?.focus();
      return;
    }
    this.#busy = true;
    this.#failure = null;
    try {
      await this.save(draft.task ?? draft.name, draft.provider ? draft : null);
      if (this.#draft === draft) this.close();
    } catch (error) {
      // Changed in another window: the table has the current state, which the notice speaks of.
      if (error instanceof ApiError && error.status === 412) {
        this.close();
        this.at.notices.failed(error);
      } else {
        this.#failure = error;
      }
    }
    this.#busy = false;
    this.at.requestUpdate();
  }
}
