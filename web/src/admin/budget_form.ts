/** The part of the policy's form that decides budgets and limits of the money that is lent. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import type { components } from "../api/schema.js";
import { MOST_DOLLARS, readMoney, writeMoney } from "../core/money.js";
import { readWhole, type TypedWhole } from "../core/whole.js";
import { budgets as texts } from "../i18n/admin_budgets.js";
import { field } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import type { AdminSurroundings } from "./surroundings.js";

export type BudgetDraft = Required<Pick<components["schemas"]["PolicyInput"], "budgets" | "limits">>;
type Allowance = components["schemas"]["AllowanceInput"];
type Period = "day" | "month";

const PERIODS: readonly Period[] = ["day", "month"];
const GROUP = /^[a-z][a-z0-9_-]{0,39}$/;
// As the server has them.
const MOST_NUMBER = 1_000_000_000_000;
const MOST_CALLS = 1_000_000;
const MOST_ASSUMED = 10_000_000;

export class BudgetForm {
  /** What is being typed, by field, where it is not what is drafted. */
  #typed = new Map<string, string>();
  #faults = new Map<string, string>();
  #group = { name: "", fault: "" };
  /** What was typed for a group that is called otherwise: names are in small letters. */
  #renamed = "";
  /** Groups that there are already, by their users or by the policy. */
  #known: readonly string[] | null = null;

  constructor(
    private readonly at: AdminSurroundings,
    private readonly draft: () => BudgetDraft,
    private readonly set: (change: Partial<BudgetDraft>) => void,
  ) {}

  /** Whether something stands in the form that cannot be sent; the first such field gets the focus. */
  refuses(): boolean {
    // A name that was typed and not added would be lost without a word.
    if (this.#group.name.trim() && !this.#group.fault) this.#group.fault = texts[this.at.language].notAdded;
    const [first] = [...this.#faults.keys(), ...(this.#group.name.trim() ? ["budget-new-group"] : [])];
    this.at.requestUpdate();
    if (first) this.at.root.querySelector<HTMLElement>(`#${CSS.escape(first)}`)?.focus();
    return first !== undefined;
  }

  /** Forget what was typed: another draft is there. */
  reset(): void {
    this.#typed.clear();
    this.#faults.clear();
    this.#group = { name: "", fault: "" };
    this.#renamed = "";
  }

  render(): TemplateResult {
    const t = texts[this.at.language];
    const { budgets } = this.draft();
    const groups = budgets.groups ?? {};
    return html`<fieldset class="card stack">
      <legend>${t.title}</legend>
      <p class="muted">${t.text}</p>
      <div class="table cards">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup"><tr role="row">
            <th role="columnheader" scope="col">${t.who}</th>
            <th role="columnheader" scope="col">${t.day}</th>
            <th role="columnheader" scope="col">${t.month}</th>
            <th role="columnheader" scope="col"><span class="hidden">${t.removeGroup("")}</span></th>
          </tr></thead>
          <tbody role="rowgroup">
            ${this.#row("per_user", t.perUser, budgets.per_user ?? {}, (one) => this.#budget({ per_user: one }))}
            ${Object.entries(groups).map(([name, one]) =>
              this.#row(`group-${name}`, t.group(name), one, (changed) => this.#budget({ groups: { ...groups, [name]: changed } }), () => {
                const { [name]: _, ...others } = groups;
                PERIODS.forEach((period) => this.#forget(`budget-group-${name}-${period}`));
                this.#budget({ groups: others });
              }, t.removeGroup(name)),
            )}
            ${this.#row("total", t.total, budgets.total ?? {}, (one) => this.#budget({ total: one }))}
          </tbody>
        </table>
      </div>
      ${this.#newGroup(groups)} ${this.#rates()}
    </fieldset>`;
  }

  #row(
    id: string,
    who: string,
    allowance: Allowance,
    change: (changed: Allowance) => void,
    remove?: () => void,
    removeLabel = "",
  ): TemplateResult {
    const t = texts[this.at.language];
    return html`<tr role="row">
      <th role="rowheader" scope="row">${who}</th>
      ${PERIODS.map((period) => {
        const name = `${period}_microdollars` as const;
        const key = `budget-${id}-${period}`;
        const fault = this.#faults.get(key);
        const hint = fault ? "" : this.#hint(id, period, allowance);
        return html`<td role="cell" data-label=${t[period]} class=${fault ? "wrong" : ""}>
          <input id=${key} inputmode="decimal" autocomplete="off" maxlength="20" placeholder=${t.noLimit}
            aria-label=${t.field(who, t[period])} aria-invalid=${fault ? "true" : "false"}
            aria-describedby=${fault ? `${key}-error` : hint ? `${key}-hint` : nothing}
            .value=${live(this.#typed.get(key) ?? writeMoney(allowance[name] ?? null, this.at.format.locale))}
            @input=${(event: Event) => {
              const typed = (event.target as HTMLInputElement).value;
              const amount = readMoney(typed, this.at.format.locale);
              const wrong = typeof amount === "string";
              this.#note(key, typed, wrong ? (amount === "much" ? t.most(this.at.format.dollars(MOST_DOLLARS)) : t.bad) : "");
              if (!wrong) change({ ...allowance, [name]: amount });
              else this.at.requestUpdate();
            }}
            @change=${() => this.#settle(key)} />
          ${fault ? html`<p class="fault" id="${key}-error" role="alert">${icon("alert")}${fault}</p>` : nothing}
          ${hint ? html`<p class="policy-hint" id="${key}-hint" role="status">${icon("alert")}${hint}</p>` : nothing}
        </td>`;
      })}
      <td role="cell">${remove
        ? html`<button type="button" class="icon" aria-label=${removeLabel} title=${removeLabel} @click=${remove}>${icon("remove")}</button>`
        : nothing}</td>
    </tr>`;
  }

  /** What a limit that can be saved may not have been meant to say. */
  #hint(id: string, period: Period, allowance: Allowance): string {
    const t = texts[this.at.language];
    const { per_user: each, groups } = this.draft().budgets;
    const { day_microdollars: day, month_microdollars: month } = allowance;
    if (period === "month" && isBelow(month, day)) return t.belowDay;
    if (id !== "total") return "";
    const name = `${period}_microdollars` as const;
    const parts = [each ?? {}, ...Object.values(groups ?? {})];
    return parts.some((one) => isBelow(allowance[name], one[name])) ? t.belowPart : "";
  }

  /** The names of groups are a help: without them the name is typed. */
  async #loadKnown(): Promise<void> {
    if (this.#known) return;
    this.#known = [];
    try {
      this.#known = (await this.at.api.get("/api/admin/budgets")).groups.map((one) => one.name);
      this.at.requestUpdate();
    } catch {
      this.#known = null;
    }
  }

  #newGroup(groups: Readonly<Record<string, Allowance>>): TemplateResult {
    const t = texts[this.at.language];
    const add = (): void => {
      const typed = this.#group.name.trim();
      const name = typed.toLowerCase();
      const fault = !GROUP.test(name) ? t.badGroup : name in groups ? t.taken : "";
      if (fault) {
        this.#group = { name: this.#group.name, fault };
        this.at.requestUpdate();
        return;
      }
      this.#group = { name: "", fault: "" };
      this.#renamed = typed === name ? "" : t.renamed(typed, name);
      this.#budget({ groups: { ...groups, [name]: { day_microdollars: null, month_microdollars: null } } });
      void this.at.updateComplete.then(() =>
        this.at.root.querySelector<HTMLElement>(`#${CSS.escape(`budget-group-${name}-day`)}`)?.focus(),
      );
    };
    return html`<div class="policy-group">
      ${field({
        id: "budget-new-group",
        label: t.newGroup,
        hint: html`<span role="status">${this.#renamed ? html`${this.#renamed} ` : nothing}</span>${t.newGroupHint}`,
        error: this.#group.fault || null,
        control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} autocomplete="off"
            autocapitalize="off" spellcheck="false" maxlength="40" list="budget-groups" .value=${live(this.#group.name)}
            @focus=${() => void this.#loadKnown()}
            @input=${(event: Event) => {
              this.#group = { name: (event.target as HTMLInputElement).value, fault: "" };
              this.#renamed = "";
              this.at.requestUpdate();
            }}
            @keydown=${(event: KeyboardEvent) => event.key === "Enter" && (event.preventDefault(), add())} /><datalist
            id="budget-groups"
          >
            ${this.#known?.filter((one) => !(one in groups)).map((one) => html`<option value=${one}></option>`)}
          </datalist>`,
      })}
      <button type="button" @click=${add}>${icon("add")}${t.add}</button>
    </div>`;
  }

  #rates(): TemplateResult {
    const t = texts[this.at.language];
    const { budgets, limits } = this.draft();
    return html`<fieldset class="policy-rates">
      <legend>${t.rates}</legend>
      ${this.#number("limit-requests", t.requests, limits.requests_per_minute ?? null, (value) =>
        this.set({ limits: { ...limits, requests_per_minute: value } }), { most: MOST_CALLS },
      )}
      ${this.#number("limit-tokens", t.tokens, limits.tokens_per_minute ?? null, (value) =>
        this.set({ limits: { ...limits, tokens_per_minute: value } }),
      )}
      ${this.#number(
        "budget-assumed",
        t.assumed,
        budgets.assumed_output_tokens ?? null,
        (value) => value !== null && this.#budget({ assumed_output_tokens: value }),
        { hint: t.assumedHint, required: true, most: MOST_ASSUMED },
      )}
    </fieldset>`;
  }

  #number(
    id: string,
    label: string,
    value: number | null,
    change: (value: number | null) => void,
    { hint = "", required = false, most = MOST_NUMBER }: { hint?: string; required?: boolean; most?: number } = {},
  ): TemplateResult {
    const t = texts[this.at.language];
    return field({
      id,
      label,
      hint: hint || nothing,
      error: this.#faults.get(id) ?? null,
      control: (control, describedBy) => html`<input id=${control} aria-describedby=${describedBy} inputmode="numeric"
        autocomplete="off" maxlength="16" placeholder=${required ? "" : t.noLimit}
        .value=${live(this.#typed.get(id) ?? (value === null ? "" : String(value)))}
        @input=${(event: Event) => {
          const typed = (event.target as HTMLInputElement).value;
          const number = readWhole(typed, this.at.format.locale);
          const fault = this.#refuse(number, required, most);
          this.#note(id, typed, fault);
          if (!fault && number !== "bad") change(number);
          else this.at.requestUpdate();
        }}
        @change=${() => this.#settle(id)} />`,
    });
  }

  #refuse(number: TypedWhole, required: boolean, most: number): string {
    const t = texts[this.at.language];
    if (number === null) return required ? t.missingNumber : "";
    if (number === "bad") return t.badNumber;
    if (number < 1) return t.leastNumber;
    return number > most ? t.most(this.at.format.number(most)) : "";
  }

  #forget(key: string): void {
    this.#typed.delete(key);
    this.#faults.delete(key);
  }

  #budget(change: Partial<BudgetDraft["budgets"]>): void {
    this.set({ budgets: { ...this.draft().budgets, ...change } });
  }

  #note(key: string, typed: string, fault: string): void {
    this.#typed.set(key, typed);
    if (fault) this.#faults.set(key, fault);
    else this.#faults.delete(key);
  }

  /** A field that is left shows the amount as it was understood. */
  #settle(key: string): void {
    if (!this.#faults.has(key)) this.#typed.delete(key);
    this.at.requestUpdate();
  }
}

/** Whether both are limits and the first is the smaller one. */
function isBelow(one: number | null | undefined, other: number | null | undefined): boolean {
  return one != null && other != null && one < other;
}
