import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { ApiError } from "../api/client.js";
import type { Credential, Preference, Route } from "../core/store.js";
import { View } from "../core/view.js";
import { keys } from "../i18n/keys.js";
import { shell } from "../i18n/shell.js";
import { taskName, words } from "../i18n/words.js";
import { chainStrip } from "../parts/chain.js";
import { dialog } from "../parts/dialog.js";
import { field, monogram, pill, toggle } from "../parts/controls.js";
import { defaultModel } from "../parts/default_model.js";
import { beginExpiry, expiryField, lacksDay, momentOf, type Expiry } from "../parts/expiry.js";
import { icon } from "../parts/icons.js";
import { menu, type MenuItem } from "../parts/menu.js";
import type { ModelPicker } from "../parts/model_picker.js";
import { startSorting } from "../parts/sorting.js";
import type { PanelSurroundings } from "../panel.js";
import { guide } from "./first_steps.js";
import type { KeyForm } from "./key_form.js";
import { LANES, locate, place, readLanes, step, wishesOf, type Lane, type Lanes } from "./key_order.js";
import type { KeyReveal } from "./key_reveal.js";
import { drawKey, type TestResult } from "./key_row.js";
import chainStyles from "../parts/chain.css?inline";
import pickerStyles from "../parts/model_picker.css?inline";
import passwordStyles from "../parts/password.css?inline";
import styles from "./keys.css?inline";

type Open =
  | { kind: "form"; form: KeyForm }
  | { kind: "reveal"; reveal: KeyReveal }
  | { kind: "remove"; key: Credential; tasks: readonly string[] }
  | { kind: "edit"; key: Credential; label: string; expiry: Expiry; fault: string | null };

type Consent = typeof import("../parts/consent.js");
type Nowhere = typeof import("../parts/nowhere.js");

// Arrow keys pressed in a row are one change of the order.
const SETTLE_MILLISECONDS = 600;

/** A file that is fetched when it is needed did not come. */
function lacksPart(): never {
  throw new ApiError("part_missing", "");
}

/** Keys by provider, in the order in which requests try them. */
export class KeysView extends View<PanelSurroundings> {
  override readonly styles = chainStyles + passwordStyles + pickerStyles + styles;

  #open: Open | null = null;
  /** The order while it is being changed; null: as stored. */
  #sorting: Lanes | null = null;
  #dragged = "";
  #spoken = "";
  #settle = 0;
  /** Whether an order is on its way to the server: what is moved meanwhile is sent behind it. */
  #saving = false;
  #moved = "";
  #testing = new Set<string>();
  /** What tests found, by key, while the page is open. */
  #results = new Map<string, TestResult>();
  #models: ModelPicker | null = null;
  #consentPart: Consent | null = null;
  #asking = false;
  #nowherePart: Nowhere | null = null;
  #explaining = false;

  override leave(): void {
    if (this.#settle) void this.#saveOrder();
    if (this.#open?.kind === "reveal") this.#open.reveal.close();
    this.#open = null;
  }

  override render(): TemplateResult {
    const t = keys[this.at.language];
    const { store } = this.at;
    const lanes = this.#sorting ?? readLanes(store);
    const any = store.credentials.length > 0;
    const locked = store.isLocked("preferences");
    return html`
      ${this.#consent()?.askForConsent(this.at) ?? nothing} ${guide(this.at, () => this.#add(""))}
      ${this.#route()}
      <section class="section">
        <header>
          <div>
            <h2>${t.title}</h2>
            <p>${locked ? html`${icon("lock")} ${t.locked(store.policy.locked_by)}` : any ? `${t.lead} ${t.leadSort}` : t.lead}</p>
          </div>
          <div class="row">
            ${store.credentials.length > 1
              ? html`<button ?disabled=${this.#testing.size > 0} @click=${() => void this.#testAll()}>${t.testAll}</button>`
              : nothing}
            ${any ? html`<button class="primary" @click=${() => this.#add("")}>${icon("add")}${t.add}</button>` : nothing}
          </div>
        </header>
        ${any ? LANES.map((lane) => this.#lane(lane, lanes)) : this.#nothingYet()}
        <p class="hidden" role="status">${this.#spoken}</p>
      </section>
      ${this.#shared()} ${this.#dialog()} ${this.#models?.render() ?? nothing}
    `;
  }

  #route(): TemplateResult | typeof nothing {
    const t = keys[this.at.language];
    const { chain } = this.at.store;
    const drawn = chain?.attempts.length ? chainStrip(this.at, chain) : chain ? this.#nowhere(chain) : nothing;
    if (drawn === nothing) return nothing;
    return html`<section class="keys-route" aria-label=${t.route}><h2>${t.route}</h2>${drawn}</section>`;
  }

  /** Why nothing serves, once the part that knows it is there; a beginner without any key has the first steps. */
  #nowhere(chain: Route): TemplateResult | typeof nothing {
    if (!this.#explaining) {
      this.#explaining = true;
      import("../parts/nowhere.js").then(
        (part) => ((this.#nowherePart = part), this.update()),
        // No connection: then the next drawing tries again.
        () => (this.#explaining = false),
      );
    }
    return this.#nowherePart?.drawNowhere(this.at, chain) ?? nothing;
  }

  #nothingYet(): TemplateResult {
    const t = keys[this.at.language];
    // What is lent serves only where consent, budgets and limits let it.
    const shared = this.at.store.chain?.attempts.some((one) => one.payer === "shared");
    const lends = this.at.store.lends;
    return html`<div class="empty">
      <h3>${t.emptyTitle}</h3>
      <p>${shared ? (lends ? t.emptyLent : t.emptyShared) : t.emptyText}</p>
      <button @click=${() => this.#add("")}>${t.add}</button>
    </div>`;
  }

  #lane(lane: Lane, lanes: Lanes): TemplateResult {
    const t = keys[this.at.language];
    const items = lanes[lane];
    const before = lane === "backup" ? lanes.first.length : 0;
    return html`
      <div class="keys-lane" data-lane=${lane}>
        <h3 id="lane-${lane}">${t.lanes[lane]} <span class="muted small">${t.laneHint[lane]}</span></h3>
        ${items.length
          ? html`<ol aria-labelledby="lane-${lane}">
              ${repeat(
                items,
                (id) => id,
                (id, index) => this.#provider(id, before + index + 1, lanes),
              )}
            </ol>`
          : html`<p class="keys-slot">${t.laneEmpty[lane]}</p>`}
      </div>
    `;
  }

  #provider(id: string, rank: number, lanes: Lanes): TemplateResult {
    const t = keys[this.at.language];
    const { store } = this.at;
    const provider = store.provider(id);
    const label = store.label(id);
    const wish = store.preference(id);
    const held = store.keysOf(id);
    const revealable = store.policy.reveal_keys && this.at.session;
    const locked = store.isLocked("preferences");
    const standard = provider ? defaultModel(this.at, id) : null;
    const lacksModel = provider && !wish.default_model && !standard;
    return html`
      <li class="card keys-provider ${id === this.#dragged ? "dragged" : ""} ${wish.enabled ? "" : "off"}" data-item=${id}>
        <div class="keys-head">
          <button
            class="icon keys-handle"
            aria-label=${t.move(label)}
            ?disabled=${locked}
            @pointerdown=${(event: PointerEvent) => this.#drag(event, id)}
            @keydown=${(event: KeyboardEvent) => this.#arrow(event, id)}
          >
            ${icon("drag")}
          </button>
          <span class="keys-rank" aria-hidden="true">${rank}</span>
          ${monogram(label)}
          <div class="grow">
            <h4 title=${label}>${label}</h4>
            <p class="muted small keys-model">
              ${provider
                ? html`${wish.default_model ?? standard ?? ""} ${wish.default_model || !standard ? nothing : html`· ${t.modelDefault}`}
                    ${wish.may_fall_back ? nothing : html`· ${t.noFallbackNote}`}`
                : html`${t.gone}`}
            </p>
          </div>
          ${provider
            ? toggle(t.enabled(label), wish.enabled, (on) => void this.#wish(id, { enabled: on }), {
                hideLabel: true,
                disabled: locked,
              })
            : nothing}
          ${menu(`menu-${id}`, shell[this.at.language].more(label), this.#providerMenu(id, rank, lanes, locked))}
        </div>
        ${lacksModel
          ? html`<div class="keys-lacking row small">
              <p class="grow">${icon("alert")} ${t.noModel(label)}</p>
              <button ?disabled=${locked} @click=${() => void this.#chooseModel(id)}>${t.chooseModel}</button>
            </div>`
          : nothing}
        <ul class="keys-list">
          ${held.map((key, position) =>
            drawKey(this.at, key, {
              first: position === 0,
              only: held.length === 1,
              busy: this.#testing.has(key.id),
              result: this.#results.get(key.id),
              test: () => void this.#test(key),
              replace: () => this.#replace(key),
              edit: () => this.#edit(key),
              enable: (on) => void this.#change(key, { enabled: on }),
              lead: () => void this.#lead(key),
              reveal: revealable ? () => void this.#reveal(key) : null,
              remove: () => this.#askToRemove(key),
            }),
          )}
        </ul>
      </li>
    `;
  }

  #providerMenu(id: string, rank: number, lanes: Lanes, locked: boolean): (MenuItem | null)[] {
    const t = keys[this.at.language];
    const known = Boolean(this.at.store.provider(id));
    const wish = this.at.store.preference(id);
    const { lane, index } = locate(lanes, id);
    const other: Lane = lane === "first" ? "backup" : "first";
    const last = lane === "backup" && index === lanes.backup.length - 1;
    const add: MenuItem = { label: t.addFor(this.at.store.label(id)), icon: "add", run: () => this.#add(id) };
    if (locked) return [known ? add : null];
    return [
      known ? add : null,
      known ? { label: t.chooseModel, icon: "edit", run: () => void this.#chooseModel(id) } : null,
      { label: t.moveUp, icon: "up", disabled: rank === 1, run: () => this.#move(step(lanes, id, -1), id) },
      { label: t.moveDown, icon: "down", disabled: last, run: () => this.#move(step(lanes, id, 1), id) },
      {
        label: t.moveTo(t.lanes[other]),
        icon: "arrow",
        run: () => this.#move(place(lanes, id, other, lanes[other].length), id),
      },
      {
        label: wish.may_fall_back ? t.noFallback : t.fallback,
        icon: wish.may_fall_back ? "close" : "check",
        run: () => void this.#wish(id, { may_fall_back: !wish.may_fall_back }),
      },
    ];
  }

  #shared(): TemplateResult | typeof nothing {
    const t = keys[this.at.language];
    const { store } = this.at;
    const lent = store.providers.filter((one) => store.policy.shared_providers.includes(one.id));
    if (!lent.length || store.settings.payer === "own_only") return nothing;
    const waits = store.settings.shared_consent_needed;
    return html`<section class="section">
      <header>
        <div>
          <h2>${t.shared}</h2>
          <p>${store.lends ? t.lentHint : t.sharedHint} ${waits ? t.sharedWaits : t.sharedBehind}</p>
        </div>
      </header>
      <ul class="keys-shared">
        ${lent.map(
          (one) =>
            html`<li class="card row">
              ${monogram(one.label)}<span class="grow">${one.label}</span>
              ${waits
                ? pill(t.waits, "plain")
                : toggle(
                    t.enabled(one.label),
                    store.preference(one.id).enabled,
                    (on) => void this.#wish(one.id, { enabled: on }),
                    { hideLabel: true, disabled: store.isLocked("preferences") },
                  )}
            </li>`,
        )}
      </ul>
      ${this.#consent()?.showConsent(this.at) ?? nothing}
    </section>`;
  }

  /** What speaks of consent, once it is there: most people are never asked. */
  #consent(): Consent | null {
    const { shared_consent_needed: needed, shared_consent_at: since } = this.at.store.settings;
    if (!this.#asking && (needed || since)) {
      this.#asking = true;
      import("../parts/consent.js").then(
        (part) => ((this.#consentPart = part), this.update()),
        // No connection: then the next drawing tries again.
        () => (this.#asking = false),
      );
    }
    return this.#consentPart;
  }

  // Order

  #drag(event: PointerEvent, id: string): void {
    const before = this.#sorting;
    this.#dragged = id;
    this.#sorting = before ?? readLanes(this.at.store);
    startSorting(
      event,
      this.at.root as ShadowRoot,
      id,
      ({ lane, index }) => {
        this.#sorting = place(this.#sorting!, id, lane as Lane, index);
        this.update();
      },
      (dropped) => {
        this.#dragged = "";
        this.#moved = id;
        // What was moved before this and is not stored yet stays.
        if (!dropped) this.#sorting = before;
        void this.#saveOrder();
        this.update();
      },
    );
    this.update();
  }

  #arrow(event: KeyboardEvent, id: string): void {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key] as 1 | -1 | undefined;
    if (!by) return;
    event.preventDefault();
    this.#move(step(this.#sorting ?? readLanes(this.at.store), id, by), id, SETTLE_MILLISECONDS);
    // Moving the row in the document takes the focus from it; into the other lane it is drawn anew.
    void this.at.updateComplete.then(() =>
      this.at.root.querySelector<HTMLElement>(`[data-item="${CSS.escape(id)}"] .keys-handle`)?.focus(),
    );
  }

  #move(lanes: Lanes, id: string, settle = 0): void {
    const t = keys[this.at.language];
    const { lane, index } = locate(lanes, id);
    this.#sorting = lanes;
    this.#moved = id;
    this.#spoken = t.moved(this.at.store.label(id), index + 1, lanes[lane].length, t.lanes[lane]);
    // The undo of the move before would undo this one, too.
    this.at.notices.close();
    clearTimeout(this.#settle);
    this.#settle = window.setTimeout(() => void this.#saveOrder(), settle);
    this.update();
  }

  /** Sends the order on the screen, and again when it has changed meanwhile: the last move wins. */
  async #saveOrder(): Promise<void> {
    clearTimeout(this.#settle);
    this.#settle = 0;
    if (this.#saving) return;
    this.#saving = true;
    const { store } = this.at;
    // Until nothing newer is there; what is still being moved comes by itself.
    while (this.#sorting && !this.#settle && !this.#dragged) {
      const wanted = this.#sorting;
      const before = wishesOf(store, wanted).map((one) => store.preference(one.provider));
      const kept = !before.length || (await this.#putWishes(() => wishesOf(store, wanted)));
      if (!kept) {
        this.#takeBack();
      } else if (this.#sorting === wanted) {
        this.#sorting = null;
        if (before.length) this.#sayOrdered(() => void this.#undo(before));
      }
      this.update();
    }
    this.#saving = false;
  }

  async #undo(before: readonly Preference[]): Promise<void> {
    if (await this.#putWishes(() => before)) this.#sayOrdered();
  }

  #sayOrdered(undo?: () => void): void {
    this.at.notices.done(keys[this.at.language].orderSaved, undo);
  }

  /** The order could not be saved: the screen, and what is read out, say again what holds. */
  #takeBack(): void {
    const t = keys[this.at.language];
    clearTimeout(this.#settle);
    this.#settle = 0;
    this.#sorting = null;
    const lanes = readLanes(this.at.store);
    const { lane, index } = locate(lanes, this.#moved);
    this.#spoken = index < 0 ? "" : t.moved(this.at.store.label(this.#moved), index + 1, lanes[lane].length, t.lanes[lane]);
  }

  /** Whether it was stored. @param wishes worked out when it is their turn */
  async #putWishes(wishes: () => readonly Preference[]): Promise<boolean> {
    try {
      await this.at.store.change("preferences", "put", "/api/preferences", () => ({ body: wishes() }));
      return true;
    } catch (error) {
      this.at.notices.failed(error);
      return false;
    }
  }

  async #wish(provider: string, change: Partial<Preference>): Promise<void> {
    try {
      await this.at.store.change("preferences", "put", "/api/preferences/{provider}", () => {
        const { provider: _, ...now } = this.at.store.preference(provider);
        return { path: { provider }, body: { ...now, ...change } };
      });
    } catch (error) {
      this.at.notices.failed(error);
    }
  }

  async #chooseModel(provider: string): Promise<void> {
    try {
      const { ModelPicker } = await import("../parts/model_picker.js").catch(lacksPart);
      this.#models ??= new ModelPicker(this.at);
    } catch (error) {
      return this.at.notices.failed(error);
    }
    this.#models.open({
      provider,
      chosen: this.at.store.preference(provider).default_model,
      pick: (model) => void this.#wish(provider, { default_model: model }),
    });
  }

  // Keys

  #add(provider: string): void {
    this.#openForm(provider, null).catch((error: unknown) => this.at.notices.failed(error));
  }

  #replace(key: Credential): void {
    this.#openForm(key.provider, key).catch((error: unknown) => this.at.notices.failed(error));
  }

  async #openForm(provider: string, replaced: Credential | null): Promise<void> {
    const { KeyForm } = await import("./key_form.js").catch(lacksPart);
    const kept = (key: string, result: TestResult | null): void => {
      if (result) this.#results.set(key, result);
      else this.#results.delete(key);
    };
    this.#open = { kind: "form", form: new KeyForm(this.at, provider, replaced, kept, () => this.#close()) };
    this.update();
  }

  async #reveal(key: Credential): Promise<void> {
    try {
      const { KeyReveal } = await import("./key_reveal.js").catch(lacksPart);
      const reveal = new KeyReveal(this.at, key, () => this.#close());
      this.#open = { kind: "reveal", reveal };
      await reveal.start();
    } catch (error) {
      this.at.notices.failed(error);
    }
  }

  #edit(key: Credential): void {
    this.#open = { kind: "edit", key, label: key.label, expiry: beginExpiry(key.expires_at), fault: null };
    this.update();
  }

  #askToRemove(key: Credential): void {
    const tasks = this.at.store.tasks.filter((one) => one.credential_id === key.id).map((one) => one.task);
    this.#open = { kind: "remove", key, tasks };
    this.update();
  }

  #close(): void {
    this.#open = null;
    this.update();
  }

  async #test(key: Credential): Promise<void> {
    this.#testing.add(key.id);
    this.update();
    try {
      const path = { credential_id: key.id };
      this.#results.set(key.id, await this.at.api.post("/api/credentials/{credential_id}/test", undefined, { path }));
    } catch (error) {
      this.#results.delete(key.id);
      this.at.notices.failed(error);
    }
    try {
      // A test that failed may have found that the key cannot be read.
      await Promise.all([this.at.store.loadCredentials(), this.at.store.loadChain()]);
    } catch (error) {
      this.at.notices.failed(error);
    }
    this.#testing.delete(key.id);
    this.update();
  }

  async #testAll(): Promise<void> {
    const enabled = this.at.store.credentials.filter((one) => one.enabled);
    await Promise.all(enabled.map((one) => this.#test(one)));
  }

  async #change(key: Credential, body: Record<string, unknown>): Promise<boolean> {
    try {
      await this.at.store.change("credentials", "patch", "/api/credentials/{credential_id}", {
        path: { credential_id: key.id },
        body,
      });
      return true;
    } catch (error) {
      this.at.notices.failed(error);
      return false;
    }
  }

  async #lead(key: Credential): Promise<void> {
    const others = this.at.store.keysOf(key.provider).filter((one) => one.id !== key.id);
    try {
      await this.at.store.change("credentials", "put", "/api/credentials/order", {
        body: { provider: key.provider, credential_ids: [key.id, ...others.map((one) => one.id)] },
      });
      this.at.notices.done(keys[this.at.language].orderSaved);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }

  async #saveEdit(open: Open & { kind: "edit" }): Promise<void> {
    const t = keys[this.at.language];
    if (lacksDay(open.expiry)) {
      open.fault = t.expiryMissing;
      return this.update();
    }
    const body = { label: open.label, expires_at: momentOf(open.expiry, open.key.expires_at, this.at.format) };
    if (await this.#change(open.key, body)) {
      this.#close();
      this.at.notices.done(t.saved(open.label || t.keyName(open.key.hint)));
    }
  }

  async #remove(open: Open & { kind: "remove" }): Promise<void> {
    try {
      await this.at.store.change("credentials", "delete", "/api/credentials/{credential_id}", {
        path: { credential_id: open.key.id },
        query: { force: open.tasks.length > 0 },
      });
      this.#close();
      this.at.notices.done(keys[this.at.language].removed);
    } catch (error) {
      if (error instanceof ApiError && error.code === "not_found") await this.at.store.loadCredentials();
      this.#close();
      this.at.notices.failed(error);
    }
  }

  #dialog(): TemplateResult | typeof nothing {
    const open = this.#open;
    if (!open) return nothing;
    if (open.kind === "form") return open.form.render();
    if (open.kind === "reveal") return open.reveal.render();
    return open.kind === "edit" ? this.#editDialog(open) : this.#removeDialog(open);
  }

  #editDialog(open: Open & { kind: "edit" }): TemplateResult {
    const t = keys[this.at.language];
    const s = shell[this.at.language];
    return dialog({
      title: `${t.editTitle} ${open.key.hint}`,
      closeLabel: s.close,
      onClose: () => this.#close(),
      onSubmit: () => void this.#saveEdit(open),
      body: html`
        ${field({
          id: "label",
          label: t.label,
          hint: t.labelHint,
          control: (id, describedBy) => html`<input
            id=${id}
            aria-describedby=${describedBy}
            maxlength="80"
            autocomplete="off"
            .value=${open.label}
            @input=${(event: Event) => (open.label = (event.target as HTMLInputElement).value)}
          />`,
        })}
        ${expiryField(
          t,
          this.at.format,
          open.expiry,
          open.key.expires_at,
          (expiry) => {
            open.expiry = expiry;
            open.fault = null;
            this.update();
          },
          open.fault,
        )}
      `,
      actions: html`<button type="button" @click=${() => this.#close()}>${s.cancel}</button
        ><button class="primary">${s.save}</button>`,
    });
  }

  #removeDialog(open: Open & { kind: "remove" }): TemplateResult {
    const t = keys[this.at.language];
    const names = words[this.at.language].tasks;
    const { store } = this.at;
    return dialog({
      title: t.removeTitle(`${store.label(open.key.provider)} · ${store.keyName(open.key)}`),
      closeLabel: shell[this.at.language].close,
      onClose: () => this.#close(),
      body: html`
        <p>${t.removeText}</p>
        ${open.tasks.length
          ? html`<p>${t.removeTasks(this.at.format.list(open.tasks.map((one) => taskName(names, one))))}</p>`
          : nothing}
      `,
      actions: html`<button @click=${() => this.#close()}>${shell[this.at.language].cancel}</button
        ><button class="danger" @click=${() => void this.#remove(open)}>${icon("remove")}${t.remove}</button>`,
    });
  }
}
