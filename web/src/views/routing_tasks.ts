/** The table of tasks: what each one gets, and what it inherits. */
import { html, nothing, type TemplateResult } from "lit";
import type { Route, Task } from "../core/store.js";
import { routing as texts } from "../i18n/routing.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { icon } from "../parts/icons.js";
import { defaultModel } from "../parts/default_model.js";
import { whyNowhere } from "../parts/nowhere.js";
import { TaskDialog, type TaskChoice } from "./routing_dialog.js";
import { lockMark } from "./routing_lock.js";

export class TaskTable {
  #dialog: TaskDialog;
  /** Where the tasks go that say nothing themselves; absent is not known yet. */
  #inherited: Record<string, Route> = {};
  #loading = false;
  /** A task that is being removed is no longer shown. */
  #removing: string | null = null;

  /** @param attempt shows the route of a task */
  constructor(
    private readonly at: PanelSurroundings,
    private readonly attempt: (task: string) => void,
  ) {
    this.#dialog = new TaskDialog(at, (task, change) => this.#put(task, change));
  }

  close(): void {
    this.#dialog.close();
  }

  /** Asks where the tasks without an override go: the server knows, with health and policy. */
  async loadInherited(): Promise<void> {
    this.#loading = true;
    const silent = this.at.store.standingTasks.filter((task) => !this.#override(task));
    try {
      const routes = await Promise.all(
        silent.map((task) =>
          this.at.api.post("/api/route/preview", {
            model: `task:${task}`,
            operation: task === "embedding" ? "embeddings" : "chat",
            needs: { tools: false, images: false, documents: false, audio: false, json_schema: false, input_tokens: 0 },
          }),
        ),
      );
      this.#inherited = Object.fromEntries(silent.map((task, index) => [task, routes[index]!]));
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.#loading = false;
    this.at.requestUpdate();
  }

  render(): TemplateResult {
    const t = texts[this.at.language];
    const names = this.at.store.taskNames.filter((task) => this.#stands(task) || task !== this.#removing);
    // Whoever has one key per provider has nothing to choose.
    const keys = this.at.store.providers.some((one) => this.at.store.keysOf(one.id).length > 1);
    const columns = ["task", "provider", "model", "key", "fallback", "payer"] as const;
    return html`<section class="section">
        <header>
          <div><h2 id="routing-tasks">${t.tasks}</h2><p>${t.tasksHint(html`<code>task:coding</code>`)}</p></div>
          ${this.at.store.isLocked("tasks")
            ? lockMark(this.at)
            : html`<button @click=${() => this.#dialog.open(null, null)}>${icon("add")}${t.addTask}</button>`}
        </header>
        <div class="table routing-tasks" aria-busy=${this.#loading ? "true" : "false"}>
          <table role="table" aria-labelledby="routing-tasks">
            <thead role="rowgroup"><tr role="row">
              ${columns
                .filter((one) => keys || one !== "key")
                .map((one) => html`<th role="columnheader" scope="col">${t.columns[one]}</th>`)}
              <th role="columnheader" scope="col"><span class="hidden">${t.actions}</span></th>
            </tr></thead>
            <tbody role="rowgroup">${names.map((task) => this.#drawRow(task, keys))}</tbody>
          </table>
        </div>
      </section>
      ${this.#dialog.render()}`;
  }

  #drawRow(task: string, keys: boolean): TemplateResult {
    const t = texts[this.at.language];
    const own = this.#override(task);
    const name = taskName(words[this.at.language].tasks, task);
    return html`<tr role="row">
      <th role="rowheader" scope="row"><span class="routing-cell" title=${name}>${name}</span><code class="muted">task:${task}</code></th>
      ${own ? this.#drawOwn(own, keys) : this.#drawInherited(task, keys)}
      <td role="cell" class="routing-actions">
        <button class="plain" aria-label=${t.tryTask(name)} @click=${() => this.attempt(task)}>${t.try}</button>
        ${this.at.store.isLocked(`tasks:${task}`)
          ? html`<span class="routing-gap"><span class="routing-lock" title=${t.lockedTask(this.at.store.policy.locked_by)}>${icon("lock")}<span class="hidden">${t.lockedTask(this.at.store.policy.locked_by)}</span></span></span
              ><span class="routing-gap"></span>`
          : html`<button class="icon" aria-label=${t.edit(name)} title=${t.edit(name)}
                @click=${() => this.#dialog.open(task, own, this.#inherited[task]?.best)}>${icon("edit")}</button>
              ${own ? this.#drawRemove(own, name) : html`<span class="routing-gap"></span>`}`}
      </td>
    </tr>`;
  }

  #drawRemove(own: Task, name: string): TemplateResult {
    const t = texts[this.at.language];
    const stands = this.#stands(own.task);
    const label = stands ? t.reset(name) : t.remove(name);
    return html`<button class="icon" aria-label=${label} title=${label} @click=${() => this.#remove(own)}>
      ${icon(stands ? "refresh" : "remove")}
    </button>`;
  }

  #drawOwn(own: Task, keys: boolean): TemplateResult {
    const t = texts[this.at.language];
    const { store } = this.at;
    const { settings } = store;
    const model = own.model ?? defaultModel(this.at, own.provider, own.task);
    const key = store.credentials.find((one) => one.id === own.credential_id);
    const payer = (own.payer ?? settings.payer) as keyof typeof t.payerShort;
    return html`
      ${this.#cell("provider", this.at.store.label(own.provider))}
      ${this.#cell("model", model ? html`<code title=${model}>${model}</code>` : "—", own.model ? "" : t.standard)}
      ${keys ? this.#cell("key", key ? store.keyName(key) : t.anyKey) : nothing}
      ${this.#cell(
        "fallback",
        mayMove(own.task) && (own.allow_fallback ?? settings.allow_fallback) ? t.yes : t.no,
        mayMove(own.task) && own.allow_fallback === null ? t.inherited : "",
      )}
      ${this.#cell("payer", t.payerShort[payer], own.payer ? "" : t.inherited)}`;
  }

  #drawInherited(task: string, keys: boolean): TemplateResult {
    const t = texts[this.at.language];
    const { settings } = this.at.store;
    const route = this.#inherited[task];
    const hop = route?.best;
    const { store } = this.at;
    const set = task in store.policy.defaults.tasks;
    const locked = store.isLocked(`tasks:${task}`);
    // A lock without a value sets nothing: the task follows the person's own order.
    const origin = !set ? t.inherited : locked ? t.lockedBy(store.policy.locked_by) : t.byAdministrator;
    const provider = hop ? store.label(hop.provider) : route ? (whyNowhere(this.at, route)?.text ?? t.nobody) : "…";
    return html`
      ${this.#cell("provider", provider, hop || !route ? origin : "")}
      ${this.#cell("model", hop ? html`<code title=${hop.model}>${hop.model}</code>` : "—", hop ? origin : "")}
      ${keys ? this.#cell("key", t.anyKey) : nothing}
      ${this.#cell("fallback", mayMove(task) && settings.allow_fallback ? t.yes : t.no, mayMove(task) ? t.inherited : "")}
      ${this.#cell("payer", t.payerShort[settings.payer as keyof typeof t.payerShort], t.inherited)}`;
  }

  /** @param note where the value comes from, when it is not the task's own */
  #cell(column: keyof (typeof texts)["en"]["columns"], value: unknown, note = ""): TemplateResult {
    const label = texts[this.at.language].columns[column];
    return html`<td role="cell" class=${note ? "muted" : ""}>
      <span class="routing-label" aria-hidden="true">${label}</span>
      <span class="routing-value"><span class="routing-cell">${value}</span>${note
        ? html`<small>${note}</small>`
        : nothing}</span>
    </td>`;
  }

  #override(task: string): Task | undefined {
    if (task === this.#removing || this.at.store.isLocked(`tasks:${task}`)) return undefined;
    return this.at.store.tasks.find((one) => one.task === task);
  }

  /** Whether there is such a task without an override. */
  #stands(task: string): boolean {
    return this.at.store.standingTasks.includes(task);
  }

  /** Stores an override, or with null lets the task inherit; offers the way back. Throws ApiError. */
  async #put(task: string, change: TaskChoice | null, undo = true): Promise<void> {
    const t = texts[this.at.language];
    const before = this.at.store.tasks.find((one) => one.task === task) ?? null;
    const name = taskName(words[this.at.language].tasks, task);
    if (change) {
      await this.at.store.change("tasks", "put", "/api/tasks/{task}", { path: { task }, body: bodyOf(change) });
    } else if (before) {
      await this.at.store.change("tasks", "delete", "/api/tasks/{task}", { path: { task } });
    }
    const done = change ? t.savedTask(name) : this.#stands(task) ? t.wasReset(name) : t.removed(name);
    this.at.notices.done(done, undo ? () => void this.#tell(this.#put(task, before, false)) : undefined);
  }

  async #remove(own: Task): Promise<void> {
    // The undo of the change before would undo something that is no longer there.
    this.at.notices.close();
    this.#removing = own.task;
    this.at.requestUpdate();
    await this.#tell(this.#put(own.task, null));
    this.#removing = null;
    this.at.requestUpdate();
  }

  async #tell(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.at.notices.failed(error);
    }
  }
}

/** Vectors of two models do not belong together: an embedding fails where its model fails. */
function mayMove(task: string): boolean {
  return task !== "embedding";
}

function bodyOf(change: TaskChoice): TaskChoice {
  const { provider, model, credential_id, payer, allow_fallback } = change;
  return { provider, model, credential_id, payer, allow_fallback };
}
