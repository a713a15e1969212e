/** A dialog to choose a provider's model: from a list that can be searched, or by a name that is typed. Styles: its `.css`. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import type { components } from "../api/schema.js";
import { modelPicker as texts } from "../i18n/model_picker.js";
import { shell } from "../i18n/shell.js";
import { words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { skeleton } from "./controls.js";
import { defaultModel } from "./default_model.js";
import { dialog } from "./dialog.js";
import { icon } from "./icons.js";

export interface ModelChoice {
  provider: string;
  /** The model now; null is the default. */
  chosen: string | null;
  /** The key whose list is shown; by default the first usable one at the provider. */
  credential?: string | null;
  /** What the model is for; embeddings have models of their own. */
  task?: string | null;
  /** Called with the choice; null is the default. */
  pick: (model: string | null) => void;
}

type Schemas = components["schemas"];
/** A model of a key's list, or of the catalogue, which has no prices. */
type Listed = Schemas["CallableModelOut"] | (Schemas["ModelOut"] & { [P in PriceField]?: undefined });
type PriceField = "input_price_microdollars_per_mtok" | "output_price_microdollars_per_mtok";

interface Option {
  value: string | null;
  text: string;
  hint?: string;
  model?: Listed;
}

// Longer lists are for searching, not for scrolling.
const SHOWN = 100;
const NAME = /^[A-Za-z0-9][\w.:@/+-]{0,199}$/;

const OUTCOMES: Readonly<Record<string, "wrong_key" | "no_credit" | "limited" | "rate_limited">> = {
  credential_rejected: "wrong_key",
  insufficient_quota: "no_credit",
  credential_limited: "limited",
  rate_limit_exceeded: "rate_limited",
};

/** A view makes one, opens it when needed and always draws it. */
export class ModelPicker {
  #choice: ModelChoice | null = null;
  #query = "";
  #active = 0;
  #list: Schemas["CallableModelsOut"] | null = null;
  #failure: unknown = null;
  #loading = false;

  constructor(private readonly at: PanelSurroundings) {}

  open(choice: ModelChoice): void {
    this.#choice = choice;
    this.#query = "";
    this.#list = null;
    this.#failure = null;
    void this.#load();
  }

  close(): void {
    this.#choice = null;
    this.at.requestUpdate();
  }

  render(): TemplateResult | typeof nothing {
    const choice = this.#choice;
    if (!choice) return nothing;
    const t = texts[this.at.language];
    return dialog({
      id: "model-picker",
      title: t.title(this.at.store.label(choice.provider)),
      closeLabel: shell[this.at.language].close,
      onClose: () => this.close(),
      onSubmit: () => this.#pick(this.#active),
      body: this.#drawBody(choice),
      actions: this.#drawSource(),
    });
  }

  /** Asks for the list of the person's key; without one, or when the provider refuses, the catalogue's is shown. */
  async #load(refresh = false): Promise<void> {
    const choice = this.#choice!;
    const id = this.#key()?.id;
    this.#loading = id !== undefined;
    this.at.requestUpdate();
    try {
      const list = id
        ? await this.at.api.get("/api/credentials/{credential_id}/models", {
            path: { credential_id: id },
            query: { refresh: refresh || null },
          })
        : null;
      if (choice !== this.#choice) return;
      this.#list = list;
      this.#failure = null;
    } catch (error) {
      if (choice !== this.#choice) return;
      this.#failure = error;
    }
    this.#loading = false;
    if (!this.#query) this.#active = Math.max(0, this.#options().findIndex((one) => one.value === choice.chosen));
    this.#draw();
  }

  #key(): Schemas["CredentialOut"] | undefined {
    const { provider, credential } = this.#choice!;
    const keys = this.at.store.keysOf(provider);
    return keys.find((one) => one.id === credential) ?? keys.find((one) => one.enabled) ?? keys[0];
  }

  #drawBody(choice: ModelChoice): TemplateResult {
    const t = texts[this.at.language];
    const options = this.#options();
    const models = this.#models();
    const hidden = this.#matching(models).length - SHOWN;
    return html`
      <div class="models-search">
        ${icon("search")}
        <input id="models-query" type="search" role="combobox" autofocus autocomplete="off" autocapitalize="off"
          spellcheck="false" aria-expanded="true" aria-controls="models-list" aria-autocomplete="list"
          aria-label=${t.search} aria-activedescendant=${options.length ? `model-${this.#active}` : nothing} placeholder=${t.search}
          .value=${this.#query} @input=${this.#onInput} @keydown=${this.#onKey} />
      </div>
      <span class="hidden" role="status">${this.#query ? t.found(this.#matching(models).length) : nothing}</span>
      ${models.some((one) => one.input_price_microdollars_per_mtok != null)
        ? html`<p class="models-prices" id="models-prices">${t.prices}</p>`
        : nothing}
      ${this.#loading && !this.#list ? skeleton(shell[this.at.language].loading, 4) : nothing}
      <ul class="models" id="models-list" role="listbox" aria-label=${t.models} ?hidden=${this.#loading && !this.#list}>
        ${options.map((one, index) => this.#drawOption(choice, one, index))}
      </ul>
      <div class="models-note">
        ${hidden > 0 ? html`<p class="muted small">${t.more(this.at.format.number(hidden))}</p>` : nothing}
        ${models.length || this.#loading ? nothing : html`<p class="muted small">${t.empty}</p>`}
        ${this.#isBad() ? html`<p class="fault" role="alert">${icon("alert")}${t.badName}</p>` : nothing}
      </div>`;
  }

  /** Whose list this is and how old, and the way to a new one. */
  #drawSource(): TemplateResult {
    const t = texts[this.at.language];
    const { outcome } = words[this.at.language];
    const failure = this.#failure;
    const source = failure
      ? t.refused(outcome[OUTCOMES[failure instanceof ApiError ? failure.code : ""] ?? "unreachable"].replace(/\.$/, ""))
      : this.#list?.source === "provider"
        ? t.fetched(this.at.format.relative(this.#list.fetched_at))
        : this.#key()
          ? t.known
          : t.lacksKey;
    return html`
      <p class="models-source" role="status">${this.#loading ? shell[this.at.language].loading : source}</p>
      ${this.#key()
        ? html`<button type="button" ?disabled=${this.#loading} @click=${() => this.#load(true)}>
            ${icon("refresh")}${t.refresh}
          </button>`
        : nothing}`;
  }

  #drawOption(choice: ModelChoice, one: Option, index: number): TemplateResult {
    const chosen = one.value === choice.chosen;
    return html`<li role="option" id="model-${index}" class=${index === this.#active ? "active" : ""}
      aria-selected=${chosen ? "true" : "false"} @click=${() => this.#pick(index)}>
      <span class="model-name">${one.model ? html`<code>${one.text}</code>` : one.text}</span>
      <span class="model-price">${one.model ? this.#price(one.model) : nothing}${chosen ? icon("check") : nothing}</span>
      <span class="model-hint">${one.model ? this.#abilities(one.model) : one.hint}</span>
    </li>`;
  }

  #price(model: Listed): string {
    const { input_price_microdollars_per_mtok: input, output_price_microdollars_per_mtok: output } = model;
    if (input == null && output == null) return "";
    return `${this.at.format.money(input)} / ${this.at.format.money(output)}`;
  }

  #abilities(model: Listed): string {
    const t = texts[this.at.language];
    return [
      model.context_tokens ? t.context(this.at.format.about(model.context_tokens)) : "",
      model.tools ? t.tools : "",
      model.images ? t.images : "",
      model.json_schema ? t.json : "",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /** What can be chosen now: the default, the models that match, and what was typed. */
  #options(): Option[] {
    const t = texts[this.at.language];
    const { provider, task, chosen } = this.#choice!;
    const typed = this.#query.trim();
    const models = this.#models();
    const options: Option[] = this.#matching(models)
      .slice(0, SHOWN)
      .map((model) => ({ value: model.id, text: model.id, model }));
    if (!typed && this.#loading && !this.#list) return [];
    if (!typed) {
      options.unshift({ value: null, text: t.standard, hint: t.standardHint(defaultModel(this.at, provider, task)) });
      if (chosen && !models.some((one) => one.id === chosen)) {
        options.splice(1, 0, { value: chosen, text: chosen, hint: t.unlisted });
      }
    } else if (NAME.test(typed) && !models.some((one) => one.id === typed)) {
      options.push({ value: typed, text: t.use(typed), hint: t.unlisted });
    }
    return options;
  }

  /** Embeddings and everything else do not share models; one of which nothing is known may be either. */
  #models(): readonly Listed[] {
    const { provider, task } = this.#choice!;
    if (this.#loading && !this.#list) return [];
    const all: readonly Listed[] = this.#list?.models ?? this.at.store.provider(provider)?.models ?? [];
    const wanted = task === "embedding";
    return all.filter((one) => one.embedding === null || one.embedding === wanted);
  }

  #matching(models: readonly Listed[]): readonly Listed[] {
    const parts = this.#query.toLowerCase().split(/\s+/).filter(Boolean);
    return models.filter((one) => parts.every((part) => one.id.toLowerCase().includes(part)));
  }

  #isBad(): boolean {
    const typed = this.#query.trim();
    return Boolean(typed) && !NAME.test(typed) && !this.#matching(this.#models()).length;
  }

  #pick(index: number): void {
    const option = this.#options()[index];
    if (!option) return;
    const { pick } = this.#choice!;
    this.close();
    pick(option.value);
  }

  #onInput = (event: Event): void => {
    this.#query = (event.target as HTMLInputElement).value;
    this.#active = 0;
    this.#draw();
  };

  #onKey = (event: KeyboardEvent): void => {
    const last = this.#options().length - 1;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#active = Math.max(0, Math.min(last, this.#active + step));
    this.#draw();
  };

  /** Draws, and keeps the option that Enter would take in sight. */
  #draw(): void {
    this.at.requestUpdate();
    requestAnimationFrame(() => this.at.root.querySelector(".models .active")?.scrollIntoView({ block: "nearest" }));
  }
}
