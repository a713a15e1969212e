/** What was done to a person's settings, and by whom, in sentences; and who can read their keys. */
import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { View } from "../core/view.js";
import { activity, type Told } from "../i18n/activity.js";
import { shell } from "../i18n/shell.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { empty, skeleton } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import styles from "./activity.css?inline";

type Entry = components["schemas"]["AuditEntryOut"];
type Kind = keyof (typeof activity)["en"]["kinds"];

const PAGE = 50;
// One transaction's rows are this near to one another.
const ONE_CHANGE_MILLISECONDS = 1000;
const KINDS: Record<string, Kind> = {
  credential: "keys",
  preference: "routing",
  task: "routing",
  settings: "routing",
  policy: "routing",
  provider: "routing",
  token: "access",
  session: "access",
  panel: "access",
  password: "access",
  link: "access",
};

function kindOf(entry: Entry): Kind {
  // The first words of `user.signed_in` and `user.deleted` are the same; what they are about is not.
  if (entry.action.startsWith("user.signed")) return "access";
  return KINDS[entry.action.split(".")[0]!] ?? "account";
}

export class ActivityView extends View<PanelSurroundings> {
  override readonly styles = styles;

  #entries: Entry[] | null = null;
  #more = false;
  #loading = false;
  #failure: unknown = null;
  #kind: Kind = "all";

  override enter(): void {
    void this.#load();
  }

  override render(): TemplateResult {
    const t = activity[this.at.language];
    return html`<div class="activity">
      <section class="section">
        <header>
          <div><h2>${t.title}</h2><p>${t.intro}</p></div>
          <div class="activity-filter">
            <label for="activity-kind">${t.filter}</label>
            <select id="activity-kind" @change=${(event: Event) => {
              this.#kind = (event.target as HTMLSelectElement).value as Kind;
              this.update();
            }}>
              ${Object.entries(t.kinds).map(
                ([kind, label]) => html`<option value=${kind} .selected=${kind === this.#kind}>${label}</option>`,
              )}
            </select>
          </div>
        </header>
        ${this.#drawEntries()}
      </section>
      <div class="card activity-box">
        <h3>${icon("lock")}${t.box}</h3>
        <ul>${t.facts.map((fact) => html`<li>${fact}</li>`)}</ul>
      </div>
    </div>`;
  }

  async #load(older = false): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    this.update();
    try {
      const before = older ? this.#entries?.at(-1)?.id : undefined;
      const page = await this.at.api.get("/api/audit", { query: { limit: PAGE, before } });
      this.#entries = older ? [...(this.#entries ?? []), ...page] : page;
      this.#more = page.length === PAGE;
      this.#failure = null;
    } catch (error) {
      if (this.#entries) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.#loading = false;
    this.update();
  }

  #drawEntries(): TemplateResult {
    const { language } = this.at;
    const t = activity[language];
    const s = shell[language];
    if (this.#failure) {
      const retry = html`<button class="primary" @click=${() => this.#load()}>${s.retry}</button>`;
      return html`<div role="alert">${empty(s.loadFailed, explain(this.#failure, language), retry)}</div>`;
    }
    if (!this.#entries) return skeleton(s.loading, 5);
    if (!this.#entries.length) return empty(t.empty, t.emptyText);
    const shown = this.#entries.filter((one) => this.#kind === "all" || kindOf(one) === this.#kind);
    const days = new Map<string, Entry[]>();
    for (const entry of shown) {
      const day = new Date(entry.occurred_at).toDateString();
      days.set(day, [...(days.get(day) ?? []), entry]);
    }
    return html`
      ${[...days.values()].map(
        (entries) => html`<h3 class="activity-day">${this.#nameDay(entries[0]!.occurred_at)}</h3>
          <ul class="card activity-list">${bundle(entries).map((one) => this.#drawEntry(one))}</ul>`,
      )}
      ${shown.length ? nothing : html`<p class="muted">${t.noneOfKind}</p>`}
      ${this.#more
        ? html`<button class="activity-more" ?disabled=${this.#loading} @click=${() => this.#load(true)}>${t.more}</button>`
        : nothing}`;
  }

  /** @param bundled a change and what was changed together with it */
  #drawEntry(bundled: readonly [Entry, ...Entry[]]): TemplateResult {
    const { format, language } = this.at;
    const t = activity[language];
    const [entry] = bundled;
    const sentence = isOrder(entry) ? t.ordered(this.#who(entry.actor)) : this.#tell(entry);
    const foreign = entry.actor !== this.at.store.session.user_id;
    return html`<li>
      <span class="activity-sign ${foreign ? "foreign" : ""}">${icon(foreign ? "alert" : "user")}</span>
      <details>
        <summary>
          <span class="activity-text">${sentence}</span>
          <time class="muted small" datetime=${entry.occurred_at} title=${format.dateTime(entry.occurred_at)}
            >${format.relative(entry.occurred_at)}</time>
        </summary>
        <dl>
          <dt>${t.exact}</dt><dd>${format.dateTime(entry.occurred_at)}</dd>
          <dt>${t.by}</dt><dd>${entry.actor}</dd>
          ${bundled.map(
            (one) => html`${one.subject ? html`<dt>${t.subject}</dt><dd class="mono">${one.subject}</dd>` : nothing}
              ${Object.entries(one.details).map(
                ([name, value]) => html`<dt class="mono">${name}</dt><dd class="mono">${show(value)}</dd>`,
              )}
              <dt>${t.entry}</dt><dd>${t.position(one.chain, one.position)} · <span class="mono">${one.action}</span></dd>`,
          )}
        </dl>
      </details>
    </li>`;
  }

  #tell(entry: Entry): string {
    const t = activity[this.at.language];
    const { action, details, actor } = entry;
    const told: Told = { who: this.#who(actor), name: this.#name(entry), extra: "" };
    const value = String(details["method"] ?? details["purpose"] ?? details["role"] ?? details["status"] ?? "");
    told.extra = t.extras[value] ?? value;
    if (action === "credential.tested") {
      const outcome = String(details["outcome"] ?? "");
      const { outcome: outcomes, status } = words[this.at.language];
      told.extra = { ...status, ...outcomes }[outcome as "works"]?.replace(/\.$/, "") ?? outcome;
    }
    const order = action === "credential.updated" && "order" in details;
    const tell = t.tells[order ? "credential.reordered" : action];
    return tell ? tell(told) : t.other({ ...told, name: action });
  }

  #who(actor: string): string {
    const t = activity[this.at.language];
    if (actor === this.at.store.session.user_id) return t.you;
    return actor.startsWith("cli:") ? t.operator(actor.slice(4)) : t.administrator(actor);
  }

  #name({ action, subject, details }: Entry): string {
    const { store, language } = this.at;
    const [about] = action.split(".");
    if (about === "credential") {
      const provider = store.label(String(details["provider"] ?? subject ?? ""));
      if ("order" in details) return provider;
      const label = String(details["label"] ?? store.credentials.find((one) => one.id === subject)?.label ?? "");
      return label ? `${provider} · ${label}` : provider;
    }
    if (about === "preference" || about === "provider") return store.label(subject ?? "");
    if (about === "task") return taskName(words[language].tasks, subject ?? "");
    return String(details["name"] ?? details["origin"] ?? subject ?? "");
  }

  #nameDay(instant: string): string {
    const t = activity[this.at.language];
    const day = new Date(instant).toDateString();
    if (day === new Date().toDateString()) return t.today;
    if (day === new Date(Date.now() - 86_400_000).toDateString()) return t.yesterday;
    return this.at.format.date(instant);
  }
}

/** What one change of the order wrote for each provider belongs together: the same person, in the same moment. */
function bundle(entries: readonly Entry[]): [Entry, ...Entry[]][] {
  const bundles: [Entry, ...Entry[]][] = [];
  for (const entry of entries) {
    const last = bundles.at(-1);
    const [first] = last ?? [];
    const another = last?.every((one) => one.subject !== entry.subject);
    const near = first && Date.parse(first.occurred_at) - Date.parse(entry.occurred_at) < ONE_CHANGE_MILLISECONDS;
    if (last && another && near && first.actor === entry.actor && isOrder(first) && isOrder(entry)) last.push(entry);
    else bundles.push([entry]);
  }
  return bundles;
}

function isOrder({ action, details }: Entry): boolean {
  const names = Object.keys(details);
  return action === "preference.updated" && names.length > 0 && names.every((one) => one === "priority" || one === "backup_only");
}

function show(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
