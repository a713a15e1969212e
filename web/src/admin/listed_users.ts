/** Who may use the shared keys, by id: a list to type, with the users that there are at hand. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import type { components } from "../api/schema.js";
import { nearest } from "../core/nearest.js";
import { policy as texts } from "../i18n/admin_policy.js";
import { field } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import type { AdminSurroundings } from "./surroundings.js";

type User = components["schemas"]["UserOut"];

const PAUSE_MILLISECONDS = 400;
const PAGE = 100;
// Names that are looked up one by one after a pause in the typing; a longer list is not checked to its end.
const MOST_ASKED = 50;

export class ListedUsers {
  /** The ids as they are being typed. */
  #typed = "";
  #adding = "";
  /** Whom a search found, newest search last: to choose from, and to guess what was meant. */
  #seen = new Map<string, User>();
  /** Whether there is a user of this id; absent: not known. */
  #exists = new Map<string, boolean>();
  #timer = 0;

  /** @param change takes the ids that are listed now */
  constructor(
    private readonly at: AdminSurroundings,
    private readonly change: (users: string[]) => void,
  ) {}

  /** Another draft is there. */
  reset(users: readonly string[]): void {
    this.#typed = users.join("\n");
    this.#adding = "";
    this.#exists.clear();
    if (users.length) this.#soon();
  }

  leave(): void {
    clearTimeout(this.#timer);
  }

  render(users: readonly string[]): TemplateResult {
    const t = texts[this.at.language];
    return html`${field({
      id: "policy-users",
      label: t.users,
      hint: users.length ? nothing : html`<span class="policy-nobody">${icon("alert")} ${t.listedNobody}</span>`,
      control: (id, describedBy) => html`<textarea
        id=${id}
        aria-describedby=${`${describedBy} policy-strangers`.trim()}
        rows="4"
        autocapitalize="off"
        spellcheck="false"
        .value=${this.#typed}
        @input=${(event: Event) => this.#type((event.target as HTMLTextAreaElement).value)}
      ></textarea>`,
    })}
    <div id="policy-strangers" role="status">${this.#strangers(users)}</div>
    <div class="policy-group">
      ${field({
        id: "policy-add-user",
        label: t.addUser,
        control: (id) => html`<input id=${id} list="policy-known-users" autocomplete="off" autocapitalize="off"
            spellcheck="false" maxlength="255" .value=${live(this.#adding)}
            @focus=${() => this.#soon()}
            @input=${(event: Event) => {
              this.#adding = (event.target as HTMLInputElement).value;
              this.#soon();
            }}
            @keydown=${(event: KeyboardEvent) => event.key === "Enter" && (event.preventDefault(), this.#add(users))} /><datalist
            id="policy-known-users"
          >
            ${[...this.#seen.values()]
              .filter((one) => !users.includes(one.id))
              .map((one) => html`<option value=${one.id}>${one.display_name || one.login || one.id}</option>`)}
          </datalist>`,
      })}
      <button type="button" @click=${() => this.#add(users)}>${icon("add")}${t.addThem}</button>
    </div>`;
  }

  /** Names that are nobody's: said, not refused, for the user may come later. */
  #strangers(users: readonly string[]): TemplateResult | typeof nothing {
    const t = texts[this.at.language];
    const strangers = users.filter((one) => this.#exists.get(one) === false);
    if (!strangers.length) return nothing;
    return html`<ul class="policy-strangers">
        ${strangers.map((one) => {
          const meant = nearest(one, [...this.#seen.keys()].filter((id) => !users.includes(id)));
          return html`<li>
            ${icon("alert")} ${t.noSuchUser(one)}
            ${meant
              ? html`<button type="button" class="plain" @click=${() => this.#replace(one, meant)}>${t.meant(meant)}</button>`
              : nothing}
          </li>`;
        })}
      </ul>
      <p class="muted small">${t.laterUser}</p>`;
  }

  #type(text: string): void {
    this.#typed = text;
    this.change(readLines(text));
    this.#soon();
  }

  #replace(one: string, meant: string): void {
    this.#type(this.#typed.split(/\r?\n/).map((line) => (line.trim() === one ? meant : line)).join("\n"));
  }

  #add(users: readonly string[]): void {
    const name = this.#adding.trim();
    if (!name) return;
    this.#adding = "";
    this.#type(users.includes(name) ? this.#typed : [...this.#typed.split(/\r?\n/).filter(Boolean), name].join("\n"));
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#look(), PAUSE_MILLISECONDS);
  }

  /** Whom the field for adding may mean, and which of the names on the list are somebody's. */
  async #look(): Promise<void> {
    try {
      await this.#find(this.#adding.trim());
      const unknown = readLines(this.#typed).filter((one) => !this.#exists.has(one));
      for (const one of unknown.slice(0, MOST_ASKED)) {
        const whole = await this.#find(one);
        // On a full page the name may be missing for want of room.
        if (!this.#exists.has(one) && whole) this.#exists.set(one, false);
      }
    } catch {
      // It is a help: without it the list is saved as it stands.
    }
    this.at.requestUpdate();
  }

  /** Whether these are all whose id, login or name holds the text. */
  async #find(text: string): Promise<boolean> {
    const found = await this.at.api.get("/api/admin/users", { query: { limit: PAGE, q: text } });
    for (const one of found) {
      this.#seen.set(one.id, one);
      this.#exists.set(one.id, true);
    }
    return found.length < PAGE;
  }
}

function readLines(text: string): string[] {
  return [...new Set(text.split(/\r?\n/).map((one) => one.trim()).filter(Boolean))].sort();
}
