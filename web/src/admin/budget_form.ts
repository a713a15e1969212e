/** The part of the policy's form that decides budgets and limits of the money that is lent. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import type { components } from "../api/schema.js";
import { readMoney, writeMoney } from "../core/money.js";
import { budgets as texts } from "../i18n/admin_budgets.js";
import { field } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import type { AdminSurroundings } from "./surroundings.js";

export type BudgetDraft = Required<Pick<components["schemas"]["PolicyInput"], "budgets" | "limits">>;
type Allowance = components["schemas"]["AllowanceInput"];
type Period = "day" | "month";

const PERIODS: readonly Period[] = ["day", "month"];
const GROUP = /^[a-z][a-z0-9_-]{0,39}$/;
const MOST_NUMBER = 1_000_000_000_000;

export class BudgetForm {
  /** What is being typed, by field, where it is not what is drafted. */
  #typed = new Map<string, string>();
  #faults = new Map<string, string>();
  #group = { name: "", fault: "" };

  constructor(
    private readonly at: AdminSurroundings,
    private readonly draft: () => BudgetDraft,
    private readonly set: (change: Partial<BudgetDraft>) => void,
  ) {}

  /** Whether something stands in the form that cannot be sent; the first such field gets the focus. */
  refuses(): boolean {
    const [first] = this.#faults.keys();
    if (first) this.at.root.querySelector<HTMLElement>(`#${CSS.escape(first)}`)?.focus();
    return first !== undefined;
  }

  /** Forget what was typed: another draft is there. */
  reset(): void {
    this.#typed.clear();
    this.#faults.clear();
    this.#group = { name: "", fault: "" };
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
        return html`<td role="cell" data-label=${t[period]} class=${fault ? "wrong" : ""}>
          <input id=${key} inputmode="decimal" autocomplete="off" maxlength="20" placeholder=${t.noLimit}
            aria-label=${t.field(who, t[period])} aria-invalid=${fault ? "true" : "false"}
            aria-describedby=${fault ? `${key}-error` : nothing}
            .value=${live(this.#typed.get(key) ?? writeMoney(allowance[name] ?? null, this.at.format.locale))}
            @input=${(event: Event) => {
              const typed = (event.target as HTMLInputElement).value;
              const amount = readMoney(typed, this.at.format.locale);
              this.#note(key, typed, amount === "bad" ? t.bad : "");
              if (amount !== "bad") change({ ...allowance, [name]: amount });
              else this.at.requestUpdate();
            }}
            @change=${() => this.#settle(key)} />
          ${fault ? html`<p class="fault" id="${key}-error" role="alert">${icon("alert")}${fault}</p>` : nothing}
        </td>`;
      })}
      <td role="cell">${remove
        ? html`<button type="button" class="icon" aria-label=${removeLabel} title=${removeLabel} @click=${remove}>${icon("remove")}</button>`
        : nothing}</td>
    </tr>`;
  }

  #newGroup(groups: Readonly<Record<string, Allowance>>): TemplateResult {
    const t = texts[this.at.language];
    const add = (): void => {
      const name = this.#group.name.trim().toLowerCase();
      const fault = !GROUP.test(name) ? t.badGroup : name in groups ? t.taken : "";
      if (fault) {
        this.#group = { name: this.#group.name, fault };
        this.at.requestUpdate();
        return;
      }
      this.#group = { name: "", fault: "" };
      this.#budget({ groups: { ...groups, [name]: { day_microdollars: null, month_microdollars: null } } });
      void this.at.updateComplete.then(() =>
        this.at.root.querySelector<HTMLElement>(`#${CSS.escape(`budget-group-${name}-day`)}`)?.focus(),
      );
    };
    return html`<div class="policy-group">
      ${field({
        id: "budget-new-group",
        label: t.newGroup,
        hint: t.newGroupHint,
        error: this.#group.fault || null,
        control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} autocomplete="off"
          autocapitalize="off" spellcheck="false" maxlength="40" .value=${live(this.#group.name)}
          @input=${(event: Event) => ((this.#group = { name: (event.target as HTMLInputElement).value, fault: "" }), this.at.requestUpdate())}
          @keydown=${(event: KeyboardEvent) => event.key === "Enter" && (event.preventDefault(), add())} />`,
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
        this.set({ limits: { ...limits, requests_per_minute: value } }),
      )}
      ${this.#number("limit-tokens", t.tokens, limits.tokens_per_minute ?? null, (value) =>
        this.set({ limits: { ...limits, tokens_per_minute: value } }),
      )}
      ${this.#number(
        "budget-assumed",
        t.assumed,
        budgets.assumed_output_tokens ?? null,
        (value) => value !== null && this.#budget({ assumed_output_tokens: value }),
        t.assumedHint,
        true,
      )}
    </fieldset>`;
  }

  #number(
    id: string,
    label: string,
    value: number | null,
    change: (value: number | null) => void,
    hint = "",
    required = false,
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
          const text = typed.replace(/[\s.,’']/g, "");
          const number = text ? Number(text) : null;
          const good = number === null ? !required : /^\d+$/.test(text) && number >= 1 && number <= MOST_NUMBER;
          this.#note(id, typed, good ? "" : t.badNumber);
          if (good) change(number);
          else this.at.requestUpdate();
        }}
        @change=${() => this.#settle(id)} />`,
    });
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
