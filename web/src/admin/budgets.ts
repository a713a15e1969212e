/** What is spent and promised of the money that administrators lend: in total, by group, by user. */
import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { budgets as texts } from "../i18n/admin_budgets.js";
import { pill } from "../parts/controls.js";
import type { AdminSurroundings } from "./surroundings.js";

export type Overview = components["schemas"]["BudgetOverviewOut"];
type Pot = components["schemas"]["PotOut"];

/** A section; only the sentence that there is none where no budget is set. */
export function drawBudgets(at: AdminSurroundings, { total, groups, per_user: each, users }: Overview): TemplateResult {
  const t = texts[at.language];
  const { format } = at;
  const limited = [...total, ...groups.flatMap((one) => one.pots)].some((one) => one.limit_microdollars !== null);
  const perUser = each.day_microdollars !== null || each.month_microdollars !== null;
  const none = !limited && !perUser;
  const pots = [
    { name: t.total, note: "", pots: total },
    ...groups.map((one) => ({ name: t.group(one.name), note: t.members(format.locale, one.members), pots: one.pots })),
  ];
  return html`<section class="section all-usage">
    <header>
      <div>
        <h2>${t.lent}</h2>
        <p>${none ? t.none : t.lentText}</p>
      </div>
      ${none ? html`<button @click=${() => at.show("policy")}>${t.setThem}</button>` : nothing}
    </header>
    ${none
      ? nothing
      : html`<div class="table" tabindex="0" role="region" aria-label=${t.lent}>
          <table>
            <caption class="hidden">${t.lent}</caption>
            <thead><tr>
              <th scope="col">${t.who}</th>
              <th scope="col" class="number">${t.today}</th>
              <th scope="col" class="number">${t.thisMonth}</th>
            </tr></thead>
            <tbody>
              ${pots.map(
                (one) => html`<tr>
                  <th scope="row">${one.name}${one.note ? html`<div class="muted small">${one.note}</div>` : nothing}</th>
                  ${(["day", "month"] as const).map((period) => drawPot(at, one.pots.find((pot) => pot.period === period)))}
                </tr>`,
              )}
              ${perUser
                ? users.map(
                    (one) => html`<tr>
                      <th scope="row"><span class="all-usage-user" title=${one.user_id}>${one.user_id}</span>
                        ${one.group ? html`<div class="muted small">${t.group(one.group)}</div>` : nothing}</th>
                      ${amounts(at, one.day_spent_microdollars, one.day_reserved_microdollars, each.day_microdollars)}
                      ${amounts(at, one.month_spent_microdollars, one.month_reserved_microdollars, each.month_microdollars)}
                    </tr>`,
                  )
                : nothing}
            </tbody>
          </table>
        </div>`}
  </section>`;
}

function drawPot(at: AdminSurroundings, pot: Pot | undefined): TemplateResult {
  return amounts(at, pot?.spent_microdollars ?? 0, pot?.reserved_microdollars ?? 0, pot?.limit_microdollars ?? null);
}

function amounts(at: AdminSurroundings, spent: number, promised: number, limit: number | null): TemplateResult {
  const t = texts[at.language];
  const { format } = at;
  const said = format.money(spent);
  return html`<td class="number">
    ${limit === null ? said : t.ofLimit(said, format.money(limit))}
    ${limit !== null && spent >= limit ? pill(t.reached, "bad") : nothing}
    ${promised ? html`<div class="muted small">${t.promised(format.money(promised))}</div>` : nothing}
  </td>`;
}
