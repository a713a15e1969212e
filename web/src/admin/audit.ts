import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { audit } from "../i18n/admin_audit.js";
import { activity } from "../i18n/activity.js";
import { auditActions } from "../i18n/audit_actions.js";
import { shell } from "../i18n/shell.js";
import { taskName, words } from "../i18n/words.js";
import { empty, saveFile, skeleton } from "../parts/controls.js";
import { failure } from "../parts/failure.js";
import { icon } from "../parts/icons.js";
import styles from "./audit.css?inline";
import type { AdminSurroundings } from "./surroundings.js";

type Entry = components["schemas"]["AuditEntryOut"];
type Verdict = components["schemas"]["VerificationOut"];

const PAGE = 50;
const COMMAND_LINE = "cli:";

/** As the server's filter has them; what is empty does not restrict. */
interface Wish {
  actor: string;
  user_id: string;
  action: string;
  from: string;
  to: string;
}
const EVERYTHING: Wish = { actor: "", user_id: "", action: "", from: "", to: "" };

/** What was done, by whom; and whether the log is still as it was written. */
export class AuditView extends View<AdminSurroundings> {
  override readonly styles = styles;

  #entries: readonly Entry[] | null = null;
  #more = false;
  #wish = EVERYTHING;
  #opened: ReadonlySet<number> = new Set();
  #verdict: Verdict | null = null;
  #verifying = false;
  #failure: unknown = null;
  #stop: AbortController | null = null;

  override enter(): void {
    void this.#load();
  }

  override leave(): void {
    this.#stop?.abort();
    this.#verdict = null;
  }

  override render(): TemplateResult {
    const { language } = this.at;
    const t = audit[language];
    return html`<section class="section audit">
      <header>
        <div>
          <h2>${t.title}</h2>
          <p>${t.lead}</p>
        </div>
        <div class="audit-tools">
          <button @click=${() => void this.#save()}>${icon("download")}CSV</button>
          <button class="primary" ?disabled=${this.#verifying} @click=${() => void this.#verify()}>
            ${icon("check")}${this.#verifying ? t.verifying : t.verify}
          </button>
        </div>
      </header>
      ${this.#drawVerdict()} ${this.#filter()}
      ${this.#entries
        ? this.#list(this.#entries)
        : this.#failure
          ? failure(this.#failure, language, () => void this.#load())
          : skeleton(shell[language].loading, 6)}
    </section>`;
  }

  #drawVerdict(): TemplateResult {
    const { language, format } = this.at;
    const t = audit[language];
    const broken = this.#verdict?.first_broken;
    return html`<div role="status">
        ${this.#verdict?.ok
          ? html`<p class="audit-verdict good">
              ${icon("check")}<span
                >${t.unbroken(format.locale, this.#verdict.chains, format.number(this.#verdict.entries))}
                ${t.compared(format.locale, this.#verdict.anchors)}</span
              >
            </p>`
          : nothing}
      </div>
      <div role="alert">
        ${broken
          ? html`<div class="audit-verdict bad">
              ${icon("alert")}
              <div>
                <h3>${t.brokenTitle}</h3>
                <p>
                  ${t.broken(format.number(broken.chain), format.number(broken.position))}
                  ${t.reasons[broken.reason] ?? broken.reason}
                </p>
                <p>${t.brokenNext}</p>
              </div>
            </div>`
          : nothing}
      </div>`;
  }

  #filter(): TemplateResult {
    const t = audit[this.at.language];
    const text = (name: "actor" | "user_id", label: string): TemplateResult =>
      this.#pick(name, label, (id) => html`<input
        id=${id}
        type="search"
        autocomplete="off"
        autocapitalize="off"
        spellcheck="false"
        maxlength="255"
        .value=${this.#wish[name]}
        @change=${(event: Event) => this.#ask({ [name]: (event.target as HTMLInputElement).value.trim() })}
      />`);
    const day = (name: "from" | "to", label: string): TemplateResult =>
      this.#pick(name, label, (id) => html`<input
        id=${id}
        type="date"
        .value=${this.#wish[name]}
        @change=${(event: Event) => this.#ask({ [name]: (event.target as HTMLInputElement).value })}
      />`);
    return html`<div class="audit-filter" role="search" aria-label=${t.filter}>
      ${text("actor", t.actor)} ${text("user_id", t.user)}
      ${this.#pick("action", t.action, (id) => this.#actions(id))} ${day("from", t.from)} ${day("to", t.to)}
    </div>`;
  }

  #pick(name: string, label: string, control: (id: string) => TemplateResult): TemplateResult {
    const id = `audit-${name}`;
    return html`<div class="field"><label class="small muted" for=${id}>${label}</label>${control(id)}</div>`;
  }

  #actions(id: string): TemplateResult {
    const { actions, kinds } = auditActions[this.at.language];
    const chosen = this.#wish.action;
    const option = (value: string, label: string): TemplateResult =>
      html`<option value=${value} .selected=${value === chosen}>${label}</option>`;
    return html`<select
      id=${id}
      @change=${(event: Event) => this.#ask({ action: (event.target as HTMLSelectElement).value })}
    >
      ${option("", audit[this.at.language].any)}
      ${Object.entries(kinds).map(([value, label]) => option(value, label))}
      <hr />
      ${Object.entries(actions).map(([value, label]) => option(value, label))}
    </select>`;
  }

  #list(entries: readonly Entry[]): TemplateResult {
    const t = audit[this.at.language];
    if (!entries.length) {
      const clear = html`<button @click=${() => this.#ask(EVERYTHING)}>${t.clear}</button>`;
      return empty(t.nothing, t.nothingText, clear);
    }
    return html`<div class="table cards">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${t.when}</th>
              <th role="columnheader" scope="col">${t.what}</th>
              <th role="columnheader" scope="col">${t.actor}</th>
              <th role="columnheader" scope="col">${t.whom}</th>
              <th role="columnheader" scope="col"><span class="hidden">${t.details}</span></th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${repeat(entries, (one) => one.id, (one) => this.#row(one))}
          </tbody>
        </table>
      </div>
      ${this.#more
        ? html`<p class="audit-end"><button @click=${() => void this.#load(true)}>${t.more}</button></p>`
        : nothing}`;
  }

  #row(entry: Entry): TemplateResult {
    const { language, format } = this.at;
    const t = audit[language];
    const action = auditActions[language].actions[entry.action] ?? entry.action;
    const opened = this.#opened.has(entry.id);
    const about = this.#about(entry);
    const when = format.dateTime(entry.occurred_at);
    const self = entry.user_id === entry.actor;
    return html`<tr role="row" class="audit-entry">
        <td role="cell" class="nowrap">${when}</td>
        <th role="rowheader" scope="row">
          <div class="audit-what">
            <span>${action}</span>
            ${about ? html`<span class="audit-about muted" title=${about}>${about}</span>` : nothing}
          </div>
        </th>
        <td role="cell" data-label=${t.actor}><div class="audit-who" title=${entry.actor}>${this.#actor(entry.actor)}</div></td>
        <td role="cell" class=${self ? "audit-none" : ""} data-label=${t.whom}>
          ${self ? nothing : html`<div class="audit-who" title=${entry.user_id}>${entry.user_id}</div>`}
        </td>
        <td role="cell" class="audit-more number">
          <button
            class="plain"
            aria-expanded=${opened ? "true" : "false"}
            aria-label=${t.detailsOf(action, when)}
            @click=${() => this.#toggle(entry.id)}
          >
            ${t.details}
          </button>
        </td>
      </tr>
      ${opened ? this.#details(entry) : nothing}`;
  }

  #details(entry: Entry): TemplateResult {
    const { language, format } = this.at;
    const t = audit[language];
    return html`<tr role="row" class="audit-details">
      <td role="cell" colspan="5">
        <dl>
          <dt>${t.exact}</dt>
          <dd class="mono">${entry.occurred_at}</dd>
          <dt>${t.place}</dt>
          <dd>${t.placeText(format.number(entry.chain), format.number(entry.position))}</dd>
          <dt>${t.action}</dt>
          <dd class="mono">${entry.action}</dd>
          ${entry.subject ? html`<dt>${t.subject}</dt><dd class="mono">${entry.subject}</dd>` : nothing}
          ${Object.entries(entry.details).map(
            ([name, value]) => html`<dt class="mono">${name}</dt><dd class="mono">${spell(value)}</dd>`,
          )}
        </dl>
      </td>
    </tr>`;
  }

  #actor(actor: string): string {
    if (!actor.startsWith(COMMAND_LINE)) return actor;
    return audit[this.at.language].command(actor.slice(COMMAND_LINE.length));
  }

  /** What it was about, in the words that people have for it: a provider, a label, a task, a role. */
  #about(entry: Entry): string {
    const { language } = this.at;
    const w = words[language];
    const { extras } = activity[language];
    const { details, subject } = entry;
    const said: string[] = [];
    const kind = entry.action.split(".")[0];
    const text = (name: string): string => (typeof details[name] === "string" ? (details[name] as string) : "");
    if (kind === "task" && subject) said.push(taskName(w.tasks, subject));
    if ((kind === "provider" || kind === "preference") && subject) said.push(this.at.label(subject));
    if (text("provider")) said.push(this.at.label(text("provider")));
    for (const name of ["label", "name"]) if (text(name)) said.push(text(name));
    if (text("outcome")) said.push((w.outcome as Record<string, string>)[text("outcome")] ?? text("outcome"));
    for (const name of ["role", "status", "method", "purpose", "origin"]) if (text(name)) said.push(extras[text(name)] ?? text(name));
    return [...new Set(said)].join(" · ");
  }

  #toggle(id: number): void {
    const opened = new Set(this.#opened);
    if (!opened.delete(id)) opened.add(id);
    this.#opened = opened;
    this.update();
  }

  #ask(wish: Partial<Wish>): void {
    this.#wish = { ...this.#wish, ...wish };
    this.#opened = new Set();
    void this.#load();
  }

  async #load(further = false): Promise<void> {
    this.#stop?.abort();
    const { signal } = (this.#stop = new AbortController());
    const before = further ? (this.#entries ?? []) : [];
    try {
      const found = await this.at.api.get("/api/admin/audit", {
        query: { ...this.#wish, limit: PAGE, before: before.at(-1)?.id },
        signal,
      });
      this.#entries = [...before, ...found];
      this.#more = found.length === PAGE;
      this.#failure = null;
    } catch (error) {
      if (signal.aborted) return;
      if (this.#entries) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.update();
  }

  async #verify(): Promise<void> {
    this.#verifying = true;
    this.#verdict = null;
    this.update();
    try {
      this.#verdict = await this.at.api.post("/api/admin/audit/verify");
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.#verifying = false;
    this.update();
  }

  async #save(): Promise<void> {
    try {
      const { blob, name } = await this.at.api.download("/api/admin/audit.csv", { ...this.#wish });
      saveFile(blob, name);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }
}

function spell(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
