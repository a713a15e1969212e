import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { ApiError, type FieldFault } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { View } from "../core/view.js";
import { admin } from "../i18n/admin.js";
import { providers } from "../i18n/admin_providers.js";
import { shell } from "../i18n/shell.js";
import { payerMark } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import { menu } from "../parts/menu.js";
import { areTold, draftOf, drawForm, emptyDraft, findFaults, rowOf, suggestId, type ProviderDraft, type ProviderRow } from "./provider_form.js";
import styles from "./providers.css?inline";
import type { AdminSurroundings } from "./surroundings.js";

type Provider = components["schemas"]["AdminProviderOut"];

type Open =
  | { kind: "form"; before: Provider | null; draft: ProviderDraft; faults: readonly FieldFault[]; failure: string | null }
  | { kind: "remove"; provider: Provider; held: { users: number; credentials: number } | null };

/** The catalogue: what comes with the server, and what was added here. */
export class ProvidersView extends View<AdminSurroundings> {
  override readonly styles = styles;

  #open: Open | null = null;
  #busy = false;

  override enter(): void {
    void this.#refresh();
  }

  override leave(): void {
    this.#open = null;
  }

  override render(): TemplateResult {
    const t = providers[this.at.language];
    // What can be changed stands first.
    const all = [...this.at.providers].sort((a, b) => Number(b.stored) - Number(a.stored));
    return html`<section class="section">
        <header>
          <div>
            <h2>${t.title}</h2>
            <p>${t.lead}</p>
          </div>
          <button class="primary" @click=${() => this.#edit(null)}>${icon("add")}${t.add}</button>
        </header>
        <div class="table" tabindex="0" role="region" aria-label=${t.title}>
          <table>
            <caption class="hidden">${t.title}</caption>
            <thead>
              <tr>
                <th scope="col">${t.provider}</th>
                <th scope="col">${t.dialect}</th>
                <th scope="col">${t.address}</th>
                <th scope="col">${t.operatorKey}</th>
                <th scope="col">${t.state}</th>
                <th scope="col"><span class="hidden">${shell[this.at.language].more(t.provider)}</span></th>
              </tr>
            </thead>
            <tbody>
              ${repeat(all, (one) => one.id, (one) => this.#row(one))}
            </tbody>
          </table>
        </div>
      </section>
      ${this.#dialog()}`;
  }

  #row(one: Provider): TemplateResult {
    const { language, format } = this.at;
    const t = providers[language];
    return html`<tr>
      <th scope="row">
        <div class="provider-name nowrap">${one.label}</div>
        <div class="provider-id muted small mono">${one.id}</div>
      </th>
      <td class="nowrap">
        ${t.dialects[one.dialect] ?? one.dialect}
        ${one.models.length ? html`<div class="muted small">${t.models(format.number(one.models.length))}</div>` : nothing}
      </td>
      <td><div class="provider-address mono small" dir="ltr" title=${one.base_url}>${one.base_url}</div></td>
      <td>${this.#operatorKey(one)}</td>
      <td class="nowrap">
        ${one.allowed ? html`<span class="muted">${t.allowed}</span>` : html`<span class="pill">${icon("lock")}${t.barred}</span>`}
        <div class="muted small">${one.stored ? t.added : nothing}</div>
      </td>
      ${one.stored
        ? html`<td class="number providers-menu">
            ${menu(`provider-${one.id}`, shell[language].more(one.label), [
              { label: t.edit, icon: "edit", run: () => this.#edit(one) },
              { label: t.remove, icon: "remove", danger: true, run: () => this.#show({ kind: "remove", provider: one, held: null }) },
            ])}
          </td>`
        : html`<td></td>`}
    </tr>`;
  }

  /** Where the operator's key comes from, never what it is. */
  #operatorKey(one: Provider): TemplateResult {
    const { language } = this.at;
    const t = providers[language];
    if (!one.needs_key) return html`<span class="muted">${t.noKey}</span>`;
    if (!one.environment) return html`<span class="muted">${t.ownOnly}</span>`;
    return html`<div class="mono small">${one.environment}</div>
      ${one.shared_key
        ? payerMark("shared", { ...admin[language].payer, shared: t.set })
        : html`<span class="muted small">${t.notSet}</span>`}`;
  }

  #show(open: Open | null): void {
    this.#open = open;
    this.update();
  }

  #edit(before: Provider | null): void {
    this.#show({ kind: "form", before, draft: before ? draftOf(before) : emptyDraft(), faults: [], failure: null });
  }

  async #refresh(): Promise<void> {
    try {
      await this.at.loadProviders();
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.update();
  }

  async #save(open: Open & { kind: "form" }): Promise<void> {
    const { language, api, notices } = this.at;
    const t = providers[language];
    const faults = findFaults(open.draft, language);
    if (faults.length) return this.#refuse({ ...open, faults, failure: t.needed });
    this.#busy = true;
    this.update();
    const row = rowOf(open.draft, open.before);
    try {
      if (open.before) {
        await api.call("put", "/api/admin/providers/{provider_id}", { path: { provider_id: open.before.id }, body: row });
      } else {
        await api.post("/api/admin/providers", { ...row, id: open.draft.id.trim() });
      }
      this.#open = null;
      notices.done(t.saved(row.label));
      await this.#refresh();
    } catch (error) {
      const faults = readFaults(error, explain(error, language));
      this.#refuse({ ...open, faults, failure: areTold(faults, open.draft) ? null : explain(error, language) });
    }
    this.#busy = false;
    this.update();
  }

  /** Shows what is wrong, where it is. */
  #refuse(open: Open & { kind: "form" }): void {
    this.#show(open);
    void this.at.updateComplete.then(() => {
      const wrong = this.at.root.querySelector<HTMLElement>("dialog .wrong :is(input, textarea, select)");
      const folded = wrong?.closest("details");
      if (folded) folded.open = true;
      wrong?.focus();
    });
  }

  async #remove(open: Open & { kind: "remove" }): Promise<void> {
    const { language, api, notices } = this.at;
    const { provider } = open;
    this.#busy = true;
    this.update();
    try {
      await api.call("delete", "/api/admin/providers/{provider_id}", {
        path: { provider_id: provider.id },
        query: { force: open.held ? true : null },
      });
      this.#open = null;
      const row = rowOf(draftOf(provider), provider);
      notices.done(providers[language].removed(provider.label), () => void this.#putBack(provider.id, row));
      await this.#refresh();
    } catch (error) {
      if (error instanceof ApiError && error.code === "provider_in_use") {
        const { users, credentials } = error.extra;
        this.#open = { ...open, held: { users: Number(users), credentials: Number(credentials) } };
      } else {
        this.#open = null;
        notices.failed(error);
        await this.#refresh();
      }
    }
    this.#busy = false;
    this.update();
  }

  async #putBack(id: string, row: ProviderRow): Promise<void> {
    try {
      await this.at.api.post("/api/admin/providers", { ...row, id });
    } catch (error) {
      this.at.notices.failed(error);
    }
    await this.#refresh();
  }

  #dialog(): TemplateResult | typeof nothing {
    const open = this.#open;
    if (!open) return nothing;
    const { language } = this.at;
    const t = providers[language];
    const s = shell[language];
    const onClose = (): void => this.#show(null);
    const cancel = html`<button type="button" @click=${onClose}>${s.cancel}</button>`;
    if (open.kind === "remove") {
      const { provider, held } = open;
      return dialog({
        title: t.removeTitle(provider.label),
        closeLabel: s.close,
        onClose,
        body: html`<p>${t.removeText}</p>
          <div role="alert">
            ${held ? html`<p class="fault">${icon("alert")}${t.inUse(held.users, held.credentials)}</p>` : nothing}
          </div>`,
        actions: html`${cancel}<button class="danger" ?disabled=${this.#busy} @click=${() => void this.#remove(open)}>
            ${icon("remove")}${held ? t.removeAnyway : t.remove}
          </button>`,
      });
    }
    const isNew = !open.before;
    return dialog({
      title: open.before ? t.editTitle(open.before.label) : t.addTitle,
      closeLabel: s.close,
      onClose,
      wide: true,
      onSubmit: () => !this.#busy && void this.#save(open),
      body: html`${drawForm(open.draft, isNew, open.faults, language, (change) => this.#change(open, change))}
        <div role="alert">
          ${open.failure ? html`<p class="fault">${icon("alert")}${open.failure}</p>` : nothing}
        </div>`,
      actions: html`${cancel}<button class="primary" ?disabled=${this.#busy}>${isNew ? t.add : s.save}</button>`,
    });
  }

  #change(open: Open & { kind: "form" }, change: Partial<ProviderDraft>): void {
    const draft = { ...open.draft, ...change };
    // The id follows the name until somebody chooses another.
    if (!open.before && change.label !== undefined && open.draft.id === suggestId(open.draft.label)) {
      draft.id = suggestId(draft.label);
    }
    this.#show({ ...open, draft, faults: open.faults.filter((one) => !(one.field in change)), failure: null });
  }
}

/** What the server refused, by field: in its own exact words where ours would only say that a field is wrong. */
function readFaults(error: unknown, said: string): readonly FieldFault[] {
  if (!(error instanceof ApiError)) return [];
  return error.fields.map(({ field, message }) => ({
    field,
    message: error.code === "invalid_request" ? message.replace(`${field}: `, "") : said,
  }));
}
