import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { budgets as budgetTexts } from "../i18n/admin_budgets.js";
import { policy } from "../i18n/admin_policy.js";
import { shell } from "../i18n/shell.js";
import { taskName, words } from "../i18n/words.js";
import { skeleton } from "../parts/controls.js";
import { failure } from "../parts/failure.js";
import { BudgetForm } from "./budget_form.js";
import { ListedUsers } from "./listed_users.js";
import type { AdminSurroundings } from "./surroundings.js";
import styles from "./policy.css?inline";

type Stored = components["schemas"]["PolicyOut"];
type Draft = components["schemas"]["PolicyInput"];
type Access = Draft["shared"]["access"];
type Rule = Draft["defaults"]["payer"];

const TASKS = ["coding", "research", "writing", "chat", "embedding"];
const RULES: readonly Rule[] = ["own_then_shared", "own_only", "shared_only"];

/** What users may choose: one form, saved as a whole. */
export class PolicyView extends View<AdminSurroundings> {
  override readonly styles = styles;

  #stored: Stored | null = null;
  #etag: string | null = null;
  #draft: Draft | null = null;
  #busy = false;
  #failure: unknown = null;
  #listed = new ListedUsers(this.at, (users) => this.#set({ shared: { ...this.#draft!.shared, users } }));
  #budgets = new BudgetForm(
    this.at,
    () => ({ budgets: this.#draft!.budgets!, limits: this.#draft!.limits! }),
    (change) => this.#set(change),
  );

  override enter(): void {
    // What somebody began to change stays when they look at another tab.
    if (this.#changed) this.at.notices.close();
    else void this.#load();
    addEventListener("beforeunload", this.#keep);
  }

  override leave(): void {
    this.#listed.leave();
    if (!this.#changed) {
      removeEventListener("beforeunload", this.#keep);
    } else if ((this.at.root as ShadowRoot).isConnected) {
      this.at.notices.remind(policy[this.at.language].unsavedElsewhere, {
        label: policy[this.at.language].back,
        run: () => this.at.show("policy"),
      });
    }
  }

  /** The browser asks before the page goes, from whichever tab. */
  #keep = (event: BeforeUnloadEvent): void => {
    if (this.#changed && (this.at.root as ShadowRoot).isConnected) event.preventDefault();
  };

  override render(): TemplateResult {
    const t = policy[this.at.language];
    if (!this.#stored || !this.#draft) {
      return html`<section class="section">
        <header><h2>${t.title}</h2></header>
        ${this.#failure
          ? failure(this.#failure, this.at.language, () => void this.#load())
          : skeleton(shell[this.at.language].loading, 6)}
      </section>`;
    }
    const { updated_by: by, updated_at: on } = this.#stored;
    return html`
      <form class="policy" @submit=${this.#onSubmit}>
        <section class="section">
          <header>
            <div>
              <h2>${t.title}</h2>
              <p>${t.lead} ${by && on ? t.changed(by, this.at.format.relative(on)) : t.untouched}</p>
            </div>
          </header>
          <div class="stack">
            ${this.#providers(this.#draft)} ${this.#shared(this.#draft, this.#stored)} ${this.#budgets.render()}
            ${this.#defaults(this.#draft)}
            ${this.#reveal(this.#draft)}
          </div>
        </section>
        ${this.#changed
          ? html`<div class="policy-bar card row" role="status">
              <p class="grow">${t.unsaved}</p>
              <button type="button" @click=${() => this.#discard()}>${t.discard}</button>
              <button class="primary" ?disabled=${this.#busy}>${shell[this.at.language].save}</button>
            </div>`
          : nothing}
      </form>
    `;
  }

  #providers(draft: Draft): TemplateResult {
    const t = policy[this.at.language];
    const chosen = draft.allowed_providers;
    const frame = this.#stored!.frame.allowed_providers;
    const open = this.at.providers.filter((one) => !frame || frame.includes(one.id));
    return html`<fieldset class="card stack">
      <legend>${t.providers}</legend>
      <div>
        ${choice("allowed", t.all, !chosen, () => this.#set({ allowed_providers: null }))}
        ${choice("allowed", t.chosen, Boolean(chosen), () =>
          this.#set({ allowed_providers: open.map((one) => one.id) }),
        )}
      </div>
      ${chosen
        ? html`<div class="policy-grid">
            ${this.at.providers.map((one) => {
              const outside = frame !== null && !frame.includes(one.id);
              return html`<label class="choice" title=${outside ? t.outside : nothing}
                ><input
                  type="checkbox"
                  .checked=${chosen.includes(one.id) && !outside}
                  ?disabled=${outside}
                  @change=${(event: Event) =>
                    this.#set({ allowed_providers: toggled(chosen, one.id, (event.target as HTMLInputElement).checked) })}
                />
                <span>${one.label}${outside ? html` <span class="muted small">${t.outside}</span>` : nothing}</span></label
              >`;
            })}
          </div>`
        : nothing}
    </fieldset>`;
  }

  #shared(draft: Draft, stored: Stored): TemplateResult {
    const t = policy[this.at.language];
    const held = stored.frame.shared_providers;
    const names: Record<Access, string> = { everyone: t.everyone, listed: t.listed, nobody: t.nobody };
    const { access } = draft.shared;
    return html`<fieldset class="card stack">
      <legend>${t.shared}</legend>
      <p class="muted">
        ${held.length ? t.sharedText(this.at.format.list(held.map((one) => this.at.label(one)))) : t.sharedNone}
      </p>
      <div>
        ${(Object.keys(names) as Access[]).map((one) =>
          choice("shared", names[one], access === one, () => this.#set({ shared: { ...draft.shared, access: one } })),
        )}
      </div>
      ${access === "listed"
        ? this.#listed.render(draft.shared.users ?? [])
        : nothing}
      <label class="choice"
        ><input
          type="checkbox"
          .checked=${draft.shared.consent ?? false}
          @change=${(event: Event) =>
            this.#set({ shared: { ...draft.shared, consent: (event.target as HTMLInputElement).checked } })}
        /><span>${budgetTexts[this.at.language].consent}</span></label
      >
    </fieldset>`;
  }

  #defaults(draft: Draft): TemplateResult {
    const t = policy[this.at.language];
    const w = words[this.at.language];
    const tasks = [...new Set([...TASKS, ...Object.keys(draft.defaults.tasks ?? {})])];
    return html`<fieldset class="card stack">
      <legend>${t.defaults}</legend>
      <p class="muted">${t.defaultsText}</p>
      <div class="row">
        <label for="policy-payer">${t.payer}</label>
        <select
          id="policy-payer"
          class="policy-payer"
          @change=${(event: Event) =>
            this.#set({ defaults: { ...draft.defaults, payer: (event.target as HTMLSelectElement).value as Rule } })}
        >
          ${RULES.map(
            (rule) => html`<option value=${rule} ?selected=${rule === draft.defaults.payer}>${w.payerRule[rule]}</option>`,
          )}
        </select>
        ${this.#lock("payer", t.payer, true)}
      </div>
      <div class="table cards">
        <table role="table">
          <caption class="hidden">${t.defaults}</caption>
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${t.task}</th>
              <th role="columnheader" scope="col">${t.provider}</th>
              <th role="columnheader" scope="col">${t.model}</th>
              <th role="columnheader" scope="col">${t.lock}</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${tasks.map((task) => this.#task(draft, task, taskName(w.tasks, task)))}
          </tbody>
        </table>
      </div>
      ${this.#lock("preferences", t.order, true)}
    </fieldset>`;
  }

  #task(draft: Draft, task: string, name: string): TemplateResult {
    const t = policy[this.at.language];
    const now = draft.defaults.tasks?.[task];
    const bare = !now && draft.locks.includes(`tasks:${task}`);
    return html`<tr role="row">
      <th role="rowheader" scope="row">${name}${bare ? html`<small class="policy-bare">${t.bareLock}</small>` : nothing}</th>
      <td role="cell" data-label=${t.provider}>
        <select
          aria-label="${name}: ${t.provider}"
          @change=${(event: Event) => this.#setTask(task, (event.target as HTMLSelectElement).value, null)}
        >
          <option value="" ?selected=${!now}>${t.noDefault}</option>
          ${this.at.providers
            .filter((one) => task !== "embedding" || one.embeddings)
            .map((one) => html`<option value=${one.id} ?selected=${one.id === now?.provider}>${one.label}</option>`)}
        </select>
      </td>
      <td role="cell" data-label=${t.model}>
        <input
          aria-label="${name}: ${t.model}"
          class="mono"
          autocomplete="off"
          spellcheck="false"
          ?disabled=${!now}
          placeholder=${now ? t.modelHint : ""}
          .value=${now?.model ?? ""}
          @change=${(event: Event) => this.#setTask(task, now!.provider, (event.target as HTMLInputElement).value.trim())}
        />
      </td>
      <td role="cell" data-label=${t.lock}>${this.#lock(`tasks:${task}`, name)}</td>
    </tr>`;
  }

  #lock(what: string, name: string, named = false): TemplateResult {
    const t = policy[this.at.language];
    const { locks } = this.#draft!;
    return html`<label class="choice"
      ><input
        type="checkbox"
        aria-label=${named ? nothing : t.lockFor(name)}
        .checked=${locks.includes(what)}
        @change=${(event: Event) => this.#set({ locks: toggled(locks, what, (event.target as HTMLInputElement).checked) })}
      />${named ? html`<span>${what === "payer" ? t.lock : name}</span>` : nothing}</label
    >`;
  }

  #reveal(draft: Draft): TemplateResult {
    const t = policy[this.at.language];
    return html`<fieldset class="card stack">
      <legend class="hidden">${t.reveal}</legend>
      <label class="choice"
        ><input
          type="checkbox"
          aria-describedby="policy-reveal"
          .checked=${draft.reveal_keys}
          @change=${(event: Event) => this.#set({ reveal_keys: (event.target as HTMLInputElement).checked })}
        /><span>${t.reveal}</span></label
      >
      <p class="muted" id="policy-reveal">${t.revealText}</p>
    </fieldset>`;
  }

  get #changed(): boolean {
    return this.#draft !== null && JSON.stringify(this.#draft) !== JSON.stringify(draftOf(this.#stored!));
  }

  #set(change: Partial<Draft>): void {
    this.#draft = { ...this.#draft!, ...change };
    this.update();
  }

  #setTask(task: string, provider: string, model: string | null): void {
    const { [task]: _, ...tasks } = this.#draft!.defaults.tasks ?? {};
    const named = provider ? { ...tasks, [task]: { provider, model: model || null } } : tasks;
    this.#set({ defaults: { ...this.#draft!.defaults, tasks: named } });
  }

  #discard(): void {
    this.#take(this.#stored!);
    this.update();
  }

  #take(stored: Stored): void {
    this.#stored = stored;
    this.#draft = draftOf(stored);
    this.#listed.reset(stored.shared.users);
    this.#budgets.reset();
  }

  async #load(): Promise<void> {
    try {
      const { data, etag } = await this.at.api.call("get", "/api/admin/policy");
      this.#etag = etag;
      this.#take(data);
    } catch (error) {
      if (this.#stored) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.update();
  }

  #onSubmit = (event: Event): void => {
    event.preventDefault();
    if (!this.#budgets.refuses()) void this.#save(this.#draft!, this.#stored!);
  };

  async #save(draft: Draft, before: Stored | null): Promise<void> {
    const t = policy[this.at.language];
    this.#busy = true;
    this.update();
    try {
      const { data, etag } = await this.at.api.call("put", "/api/admin/policy", { body: draft, ifMatch: this.#etag });
      this.#etag = etag;
      this.#take(data);
      this.at.notices.done(t.saved, before ? () => void this.#save(draftOf(before), null) : undefined);
      await this.at.loadProviders();
    } catch (error) {
      if (error instanceof ApiError && error.status === 412) {
        await this.#load();
        this.at.notices.failed(new ApiError(error.code, t.conflict, 412));
      } else {
        this.at.notices.failed(error);
      }
    }
    this.#busy = false;
    this.update();
  }
}

/** What the form changes, in the form in which it is sent. */
function draftOf(stored: Stored): Draft {
  return {
    allowed_providers: stored.allowed_providers,
    shared: { ...stored.shared, access: stored.shared.access as Access },
    budgets: stored.budgets,
    limits: stored.limits,
    defaults: {
      payer: stored.defaults.payer as Rule,
      tasks: Object.fromEntries(
        Object.entries(stored.defaults.tasks).map(([task, one]) => [task, { provider: one.provider, model: one.model }]),
      ),
    },
    locks: stored.locks,
    reveal_keys: stored.reveal_keys,
  };
}

function choice(group: string, label: string, chosen: boolean, choose: () => void): TemplateResult {
  return html`<label class="choice"
    ><input type="radio" name=${group} .checked=${chosen} @change=${choose} /><span>${label}</span></label
  >`;
}

function toggled(all: readonly string[], one: string, on: boolean): string[] {
  return on ? [...all, one].sort() : all.filter((other) => other !== one);
}
