import { html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { explain } from "../core/explain.js";
import { View } from "../core/view.js";
import { users } from "../i18n/admin_users.js";
import { shell } from "../i18n/shell.js";
import { words } from "../i18n/words.js";
import { ConfirmIdentity } from "../parts/confirm_identity.js";
import { copyText, empty, field, pill, saveFile, skeleton } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { failure } from "../parts/failure.js";
import { icon } from "../parts/icons.js";
import { menu } from "../parts/menu.js";
import passwordStyles from "../parts/password.css?inline";
import type { AdminSurroundings } from "./surroundings.js";
import styles from "./users.css?inline";

type User = components["schemas"]["UserOut"];
type Link = components["schemas"]["NewLinkOut"];
type GroupBudget = components["schemas"]["GroupBudgetOut"];

type Open =
  | { kind: "invite"; login: string; admin: boolean; fault: string | null }
  | { kind: "link"; link: Link; copied: boolean; failed: boolean }
  | { kind: "suspend"; user: User }
  | { kind: "promote"; user: User }
  | { kind: "group"; user: User; group: string; fault: string | null }
  | { kind: "remove"; user: User; typed: string };

interface Change {
  role?: "user" | "admin";
  status?: "active" | "suspended";
  group?: string | null;
}

const PAGE = 50;
const GROUP = /^[a-z][a-z0-9_-]{0,39}$/;
const TYPING_MS = 250;
// "Ann <ann@example.com>", a list, a quotation: what surrounds an address, and no login.
const WRITTEN_AROUND = /[<>"(),;]/;
const WELL = new Set(["ok", "unverified", "limited"]);

/** Who there is, and what can be done about it. */
export class UsersView extends View<AdminSurroundings> {
  override readonly styles = passwordStyles + styles;

  #users: readonly User[] | null = null;
  #more = false;
  #search = "";
  #typing = 0;
  #stop: AbortController | null = null;
  #failure: unknown = null;
  #open: Open | null = null;
  /** The groups that there are, once somebody is to be put into one. */
  #groups: readonly GroupBudget[] | null = null;
  #busy = false;
  #identity = new ConfirmIdentity(this.at);

  override enter(): void {
    void this.#load();
  }

  override leave(): void {
    // A link that was shown is not shown again.
    this.#open = null;
    this.#identity.close();
    clearTimeout(this.#typing);
    this.#stop?.abort();
  }

  override render(): TemplateResult {
    const t = users[this.at.language];
    return html`<section class="section">
        <header>
          <div>
            <h2>${t.title}</h2>
            <p>${t.lead}</p>
          </div>
          ${this.#lasting
            ? html`<button
                class="primary"
                @click=${() => this.#show({ kind: "invite", login: "", admin: false, fault: null })}
              >
                ${icon("add")}${t.invite}
              </button>`
            : nothing}
        </header>
        ${this.#tools()}
        ${this.#users
          ? this.#list(this.#users)
          : this.#failure
            ? failure(this.#failure, this.at.language, () => void this.#load())
            : skeleton(shell[this.at.language].loading, 4)}
      </section>
      ${this.#dialog()} ${this.#identity.render()}`;
  }

  #tools(): TemplateResult {
    const t = users[this.at.language];
    return html`<div class="row spread users-tools">
      <div class="users-search">
        ${icon("search")}
        <input
          type="search"
          aria-label=${t.search}
          placeholder=${t.search}
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          maxlength="255"
          .value=${this.#search}
          @input=${(event: Event) => this.#find((event.target as HTMLInputElement).value)}
        />
      </div>
      <button @click=${() => void this.#save()}>${icon("download")}${t.csv}</button>
    </div>`;
  }

  #list(found: readonly User[]): TemplateResult {
    const t = users[this.at.language];
    if (!found.length) {
      return html`<div role="status">
        ${this.#search.trim() ? empty(t.noneFound, t.noneFoundText) : empty(t.nobody, t.nobodyText)}
      </div>`;
    }
    return html`
      <div class="table cards users-table">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${t.user}</th>
              <th role="columnheader" scope="col">${t.keys}</th>
              <th role="columnheader" scope="col" class="number" title=${t.days}>${t.requests}</th>
              <th role="columnheader" scope="col" class="number" title=${t.days}>${t.errors}</th>
              <th role="columnheader" scope="col" class="number" title=${t.days}>${t.own}</th>
              <th role="columnheader" scope="col" class="number" title=${t.days}>${t.shared}</th>
              <th role="columnheader" scope="col">${t.active}</th>
              <th role="columnheader" scope="col"><span class="hidden">${shell[this.at.language].more(t.user)}</span></th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${repeat(found, (one) => one.id, (one) => this.#row(one))}
          </tbody>
        </table>
      </div>
      <p class="muted small users-note">${t.days}</p>
      ${this.#more
        ? html`<p class="users-more"><button @click=${() => void this.#load(true)}>${t.more}</button></p>`
        : nothing}
    `;
  }

  #row(user: User): TemplateResult {
    const t = users[this.at.language];
    const { format, person } = this.at;
    const self = user.id === person.user_id;
    // The id, and the login where that is another.
    const also = [user.display_name ? user.id : null, user.login === user.id ? null : user.login]
      .filter(Boolean)
      .join(" · ");
    return html`<tr role="row">
      <th role="rowheader" scope="row">
        <div class="users-id" title=${`${user.id} · ${t.since} ${format.date(user.created_at)}`}>
          ${user.display_name || user.id}
        </div>
        ${also ? html`<div class="users-id users-also muted small" title=${also}>${also}</div>` : nothing}
        <div class="users-marks">
          ${self ? html`<span class="muted small">${t.you}</span>` : nothing}
          ${user.role === "admin" ? html`<span class="pill">${icon("user")}${t.admin}</span>` : nothing}
          ${user.status === "suspended" ? pill(t.suspended, "bad") : nothing}
          ${user.group ? html`<span class="pill users-group" title=${t.inGroup(user.group)}>${icon("share")}${user.group}</span>` : nothing}
        </div>
      </th>
      <td role="cell" data-label=${t.keys}>${this.#held(user)}</td>
      <td role="cell" class="number" data-label=${t.requests}>${format.number(user.requests)}</td>
      <td role="cell" class="number" data-label=${t.errors}>
        ${user.errors
          ? html`${format.number(user.errors)}
              <span class="muted small">${format.percent(user.errors / user.requests)}</span>`
          : html`<span class="muted">0</span>`}
      </td>
      <td role="cell" class="number" data-label=${t.own}>${user.requests ? format.money(user.own_cost_microdollars) : "—"}</td>
      <td role="cell" class="number" data-label=${t.shared}>${user.requests ? format.money(user.shared_cost_microdollars) : "—"}</td>
      <td role="cell" class="users-active" data-label=${t.active} title=${user.last_active_at ? format.dateTime(user.last_active_at) : nothing}>
        ${user.last_active_at ? format.relative(user.last_active_at) : t.never}
      </td>
      <td role="cell" class="number users-menu">
        ${menu(`user-${user.id}`, shell[this.at.language].more(user.id), [
          this.#lasting ? { label: t.reset, icon: "key", run: () => void this.#reset(user) } : null,
          { label: t.signOut, icon: "signOut", run: () => void this.#signOut(user) },
          { label: t.group, icon: "share", run: () => void this.#beginGroup(user) },
          self
            ? null
            : user.role === "admin"
              ? { label: t.makeUser, icon: "user", run: () => void this.#change(user, { role: "user" }) }
              : this.#lasting
                ? { label: t.makeAdmin, icon: "user", run: () => this.#show({ kind: "promote", user }) }
                : null,
          self
            ? null
            : user.status === "suspended"
              ? { label: t.letIn, icon: "check", run: () => void this.#change(user, { status: "active" }) }
              : { label: t.suspend, icon: "lock", run: () => this.#show({ kind: "suspend", user }) },
          self
            ? null
            : { label: t.remove, icon: "remove", danger: true, run: () => this.#show({ kind: "remove", user, typed: "" }) },
        ])}
      </td>
    </tr>`;
  }

  /** Whether this administrator may make a way in that lasts: the token of a panel inside a host's page may not. */
  get #lasting(): boolean {
    return this.at.person.via !== "panel";
  }

  /** Providers with keys, and a word for those whose keys do not work. */
  #held(user: User): TemplateResult {
    const t = users[this.at.language];
    const all = words[this.at.language].status as Record<string, string>;
    if (!user.credentials.length) return html`<span class="muted">${t.noKeys}</span>`;
    const providers = [...new Set(user.credentials.map((one) => one.provider))];
    return html`<ul class="users-keys">
      ${providers.map((provider) => {
        const held = user.credentials.filter((one) => one.provider === provider);
        const broken = held.filter((one) => !WELL.has(one.status));
        const told = held.map((one) => t.counted(this.at.format.number(one.count), all[one.status] ?? one.status));
        return html`<li title=${this.at.format.list(told)}>
          ${this.at.label(provider)} ${broken.map((one) => pill(all[one.status] ?? one.status, "warn"))}
          <span class="hidden">${told}</span>
        </li>`;
      })}
    </ul>`;
  }

  #show(open: Open | null): void {
    this.#open = open;
    this.update();
  }

  #find(text: string): void {
    this.#search = text;
    clearTimeout(this.#typing);
    this.#typing = window.setTimeout(() => void this.#load(), TYPING_MS);
    this.update();
  }

  async #load(further = false): Promise<void> {
    this.#stop?.abort();
    const { signal } = (this.#stop = new AbortController());
    const before = further ? (this.#users ?? []) : [];
    try {
      const found = await this.at.api.get("/api/admin/users", {
        query: { limit: PAGE, after: before.at(-1)?.id ?? null, q: this.#search.trim() },
        signal,
      });
      this.#users = [...before, ...found];
      this.#more = found.length === PAGE;
      this.#failure = null;
    } catch (error) {
      if (signal.aborted) return;
      if (this.#users) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.update();
  }

  async #save(): Promise<void> {
    try {
      const { blob, name } = await this.at.api.download("/api/admin/users.csv", { q: this.#search.trim() });
      saveFile(blob, name);
    } catch (error) {
      this.at.notices.failed(error);
    }
  }

  async #work(task: () => Promise<void>): Promise<void> {
    this.#busy = true;
    this.update();
    try {
      await this.#identity.run(task);
    } catch (error) {
      const givenUp = error instanceof DOMException && error.name === "AbortError";
      if (this.#open?.kind === "invite" && !givenUp) this.#open.fault = explain(error, this.at.language);
      else this.at.notices.failed(error);
      if (error instanceof ApiError && error.status === 404) await this.#load();
    }
    this.#busy = false;
    this.update();
  }

  async #invite(open: Open & { kind: "invite" }): Promise<void> {
    const t = users[this.at.language];
    const login = open.login.trim();
    if (!login || WRITTEN_AROUND.test(login)) {
      this.#show({ ...open, fault: login ? t.loginForm : t.loginMissing });
      this.at.root.querySelector<HTMLElement>("#login")?.focus();
      return;
    }
    await this.#work(async () => {
      const link = await this.at.api.post("/api/admin/users", {
        login,
        role: open.admin ? "admin" : "user",
      });
      this.#open = { kind: "link", link, copied: false, failed: false };
      await this.#load();
    });
  }

  #reset(user: User): Promise<void> {
    return this.#work(async () => {
      const link = await this.at.api.post("/api/admin/users/{user_id}/reset", undefined, { path: { user_id: user.id } });
      this.#open = { kind: "link", link, copied: false, failed: false };
    });
  }

  #signOut(user: User): Promise<void> {
    return this.#work(async () => {
      await this.at.api.call("delete", "/api/admin/users/{user_id}/sessions", { path: { user_id: user.id } });
      this.at.notices.done(users[this.at.language].signedOut(user.id));
    });
  }

  /** Groups are named by the policy or by who is in them. */
  async #beginGroup(user: User): Promise<void> {
    this.#show({ kind: "group", user, group: user.group ?? "", fault: null });
    try {
      this.#groups = (await this.at.api.get("/api/admin/budgets")).groups;
      this.update();
    } catch {
      // Names to choose from are a help: without them the name is typed.
    }
  }

  async #setGroup(open: Open & { kind: "group" }): Promise<void> {
    const t = users[this.at.language];
    const group = open.group.trim().toLowerCase() || null;
    if (group !== null && !GROUP.test(group)) {
      this.#show({ ...open, fault: t.badGroup });
      this.at.root.querySelector<HTMLElement>("#group")?.focus();
      return;
    }
    await this.#change(open.user, { group });
  }

  #change(user: User, body: Change): Promise<void> {
    return this.#work(async () => {
      await this.at.api.call("patch", "/api/admin/users/{user_id}", { path: { user_id: user.id }, body });
      this.#open = null;
      const undo: Change = body.role
        ? { role: user.role as "user" | "admin" }
        : body.status
          ? { status: user.status as "active" | "suspended" }
          : { group: user.group };
      this.at.notices.done(users[this.at.language].changed(user.id), () => void this.#change({ ...user, ...body }, undo));
      await this.#load();
    });
  }

  #remove(user: User): Promise<void> {
    return this.#work(async () => {
      await this.at.api.call("delete", "/api/admin/users/{user_id}", { path: { user_id: user.id } });
      this.#open = null;
      this.at.notices.done(users[this.at.language].removed(user.id));
      await this.#load();
    });
  }

  #dialog(): TemplateResult | typeof nothing {
    const open = this.#open;
    if (!open) return nothing;
    const t = users[this.at.language];
    const s = shell[this.at.language];
    const common = { closeLabel: s.close, onClose: () => this.#show(null) };
    const cancel = html`<button type="button" @click=${common.onClose}>${s.cancel}</button>`;
    if (open.kind === "invite") return this.#inviteDialog(open);
    if (open.kind === "link") return this.#linkDialog(open);
    if (open.kind === "group") return this.#groupDialog(open);
    if (open.kind === "promote") {
      return dialog({
        ...common,
        title: t.promoteTitle(open.user.display_name || open.user.id),
        body: html`<p>${t.promoteText}</p>`,
        actions: html`${cancel}<button
            class="primary"
            ?disabled=${this.#busy}
            @click=${() => void this.#change(open.user, { role: "admin" })}
          >
            ${t.makeAdmin}
          </button>`,
      });
    }
    if (open.kind === "suspend") {
      return dialog({
        ...common,
        title: t.suspendTitle(open.user.id),
        body: html`<p>${t.suspendText}</p>`,
        actions: html`${cancel}<button
            class="danger"
            ?disabled=${this.#busy}
            @click=${() => void this.#change(open.user, { status: "suspended" })}
          >
            ${t.suspend}
          </button>`,
      });
    }
    return dialog({
      ...common,
      title: t.removeTitle(open.user.id),
      onSubmit: () => open.typed === open.user.id && void this.#remove(open.user),
      body: html`<p>${t.removeText}</p>
        ${field({
          id: "confirm",
          label: t.removeConfirm(open.user.id),
          control: (id) => html`<input
            id=${id}
            autocomplete="off"
            spellcheck="false"
            autofocus
            .value=${open.typed}
            @input=${(event: Event) => this.#show({ ...open, typed: (event.target as HTMLInputElement).value })}
          />`,
        })}`,
      actions: html`${cancel}<button class="danger" ?disabled=${this.#busy || open.typed !== open.user.id}>
          ${icon("remove")}${t.remove}
        </button>`,
    });
  }

  #groupDialog(open: Open & { kind: "group" }): TemplateResult {
    const t = users[this.at.language];
    const s = shell[this.at.language];
    const close = () => this.#show(null);
    return dialog({
      closeLabel: s.close,
      onClose: close,
      title: t.groupOf(open.user.display_name || open.user.id),
      onSubmit: () => void this.#setGroup(open),
      body: html`<p>${t.groupText}</p>
        ${field({
          id: "group",
          label: t.groupName,
          hint: html`<span role="status">${this.#groupHint(open.group)}</span>`,
          error: open.fault,
          control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} list="groups" autofocus
              autocomplete="off" autocapitalize="off" spellcheck="false" maxlength="40" .value=${open.group}
              @input=${(event: Event) => {
                open.group = (event.target as HTMLInputElement).value;
                open.fault = null;
                this.update();
              }} /><datalist id="groups">${this.#groups?.map((one) => html`<option value=${one.name}></option>`)}</datalist>`,
        })}`,
      actions: html`<button type="button" @click=${close}>${s.cancel}</button>
        <button class="primary" ?disabled=${this.#busy}>${s.save}</button>`,
    });
  }

  /** How the group is called when it was typed otherwise, and whether it has no money yet. */
  #groupHint(typed: string): string {
    const t = users[this.at.language];
    const name = typed.trim().toLowerCase();
    if (!GROUP.test(name)) return t.groupHint;
    const known = this.#groups?.find((one) => one.name === name);
    const money = known?.pots.some((pot) => pot.limit_microdollars !== null);
    const hints = [name === typed.trim() ? "" : t.groupRenamed(name), this.#groups && !money ? t.groupBare(name) : ""];
    return hints.filter(Boolean).join(" ") || t.groupHint;
  }

  #inviteDialog(open: Open & { kind: "invite" }): TemplateResult {
    const t = users[this.at.language];
    const s = shell[this.at.language];
    return dialog({
      title: t.inviteTitle,
      closeLabel: s.close,
      onClose: () => this.#show(null),
      onSubmit: () => void this.#invite(open),
      body: html`
        ${field({
          id: "login",
          label: t.inviteLogin,
          hint: t.inviteHint,
          error: open.fault,
          control: (id, describedBy) => html`<input
            id=${id}
            aria-describedby=${describedBy}
            autocomplete="off"
            autocapitalize="off"
            spellcheck="false"
            maxlength="200"
            autofocus
            .value=${open.login}
            @input=${(event: Event) => (open.login = (event.target as HTMLInputElement).value)}
          />`,
        })}
        <label class="choice"
          ><input
            type="checkbox"
            .checked=${open.admin}
            @change=${(event: Event) => (open.admin = (event.target as HTMLInputElement).checked)}
          /><span>${t.inviteAdmin}</span></label
        >
      `,
      actions: html`<button type="button" @click=${() => this.#show(null)}>${s.cancel}</button
        ><button class="primary" ?disabled=${this.#busy}>${t.makeLink}</button>`,
    });
  }

  /** "in 24 hours": the link is a moment old, and its last hour is no less than the others. */
  #hoursUntil(instant: string): string {
    const hours = Math.round((Date.parse(instant) - Date.now()) / 3_600_000);
    return this.at.format.ahead(Math.max(1, hours), "hour");
  }

  #linkDialog(open: Open & { kind: "link" }): TemplateResult {
    const t = users[this.at.language];
    const s = shell[this.at.language];
    const copy = (): void =>
      void copyText(
        open.link.link,
        () => this.#show({ ...open, copied: true, failed: false }),
        () => this.#show({ ...open, copied: false, failed: true }),
      );
    return dialog({
      title: t.linkTitle(open.link.login),
      closeLabel: s.close,
      onClose: () => this.#show(null),
      body: html`
        <p>${t.linkText} ${t.linkUntil(this.#hoursUntil(open.link.expires_at))}</p>
        <p class="users-link mono" tabindex="0">${open.link.link}</p>
        <p role="status" class="small">${open.failed ? s.copyFailed : nothing}</p>
      `,
      actions: html`<button class="primary" @click=${copy}>
        ${icon(open.copied ? "check" : "copy")}${open.copied ? s.copied : s.copy}
      </button>`,
    });
  }
}
