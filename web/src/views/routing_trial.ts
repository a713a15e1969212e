/** "Try a route": where a request would go now, worked out by the server with the function that serves requests. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import { ApiError } from "../api/client.js";
import { explain } from "../core/explain.js";
import { nearest } from "../core/nearest.js";
import type { Hop, Route } from "../core/store.js";
import { readWhole } from "../core/whole.js";
import { routing as texts } from "../i18n/routing.js";
import { taskName, words } from "../i18n/words.js";
import type { PanelSurroundings } from "../panel.js";
import { chainStrip } from "../parts/chain.js";
import { field } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import { whyNowhere } from "../parts/nowhere.js";
import { skippedHops } from "../parts/skipped.js";

const NEEDS = [
  ["tools", "tools"],
  ["images", "images"],
  ["documents", "documents"],
  ["audio", "audio"],
  ["json_schema", "json"],
] as const;
// A page of text with its instructions.
const USUAL_INPUT_TOKENS = 1000;
const MOST_TOKENS = 100_000_000;
// Between the last key and the question to the server.
const PAUSE_MILLISECONDS = 300;

export class RouteTrial {
  #model = "auto";
  #task = "";
  #needs = { tools: false, images: false, documents: false, audio: false, json_schema: false };
  /** How long the request is, and how long its answer may be (empty: as the model allows), as they are typed. */
  #size = { input: String(USUAL_INPUT_TOKENS), output: "" };
  #route: Route | null = null;
  #failure: unknown = null;
  #timer = 0;
  #asked = 0;

  constructor(private readonly at: PanelSurroundings) {}

  /** Asks where the request would go, with what is chosen now. */
  async run(): Promise<void> {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const model = this.#model.trim() || "auto";
    try {
      const route = await this.at.api.post("/api/route/preview", {
        model,
        task: this.#task || null,
        operation: this.#task === "embedding" || model === "task:embedding" ? "embeddings" : "chat",
        needs: { ...this.#needs, input_tokens: this.#tokens("input") ?? 0 },
        max_output_tokens: this.#tokens("output"),
      });
      if (asked !== this.#asked) return;
      this.#route = route;
      this.#failure = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#failure = error;
    }
    this.at.requestUpdate();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#asked++;
  }

  /** Shows the route of a task, and takes the person there. */
  show(task: string): void {
    this.#model = "auto";
    this.#task = task;
    this.at.requestUpdate();
    void this.run();
    const heading = this.at.root.querySelector<HTMLElement>("#routing-trial");
    heading?.focus({ preventScroll: true });
    heading?.scrollIntoView({ block: "start" });
  }

  render(): TemplateResult {
    const t = texts[this.at.language];
    const { tasks } = words[this.at.language];
    return html`<section class="section">
      <header><div><h2 id="routing-trial" tabindex="-1">${t.trial}</h2><p>${t.trialHint}</p></div></header>
      <div class="card stack">
        <div class="routing-trial">
          ${field({
            id: "routing-model",
            label: t.model,
            hint: t.modelHint,
            error: this.#failure ? explain(this.#failure, this.at.language) : null,
            control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} list="routing-models"
                maxlength="300" autocomplete="off" autocapitalize="off" spellcheck="false" .value=${live(this.#model)}
                @input=${this.#onModel} /><datalist id="routing-models">
                ${this.#suggestions().map((one) => html`<option value=${one}></option>`)}
              </datalist>`,
          })}
          ${field({
            id: "routing-task",
            label: t.columns.task,
            control: (id) => html`<select id=${id} @change=${this.#onTask}>
              <option value="" .selected=${!this.#task}>—</option>
              ${this.at.store.taskNames.map(
                (one) => html`<option value=${one} .selected=${one === this.#task}>${taskName(tasks, one)}</option>`,
              )}
            </select>`,
          })}
          ${this.#sizeField("input", t.inputTokens, t.inputHint)} ${this.#sizeField("output", t.outputTokens, t.outputHint)}
          <fieldset class="field">
            <legend>${t.needs}</legend>
            <div class="row">
              ${NEEDS.map(
                ([need, word]) => html`<label class="choice"><input type="checkbox" .checked=${this.#needs[need]}
                  @change=${(event: Event) => this.#onNeed(need, event)} />${t[word]}</label>`,
              )}
            </div>
          </fieldset>
        </div>
        <p class="routing-result" role="status">${this.#summary()}</p>
        ${this.#doubt()}
        ${this.#route && !this.#failure
          ? html`${this.#route.attempts.length ? chainStrip(this.at, this.#route, (hop) => this.#price(hop)) : nothing}
            ${skippedHops(this.at, this.#route)}`
          : nothing}
      </div>
    </section>`;
  }

  #summary(): string | typeof nothing {
    const t = texts[this.at.language];
    if (!this.#route || this.#failure) return nothing;
    const { best } = this.#route;
    if (!best) return [t.goesNowhere, whyNowhere(this.at, this.#route)?.text].filter(Boolean).join(" ");
    const payer = words[this.at.language].payer[best.payer as "own" | "shared"];
    return t.goes(this.at.store.label(best.provider), best.model, payer);
  }

  /** Many models are in no list: a name that looks like none of ours is sent to whoever is first. */
  #doubt(): TemplateResult | typeof nothing {
    const t = texts[this.at.language];
    const { store } = this.at;
    const asked = this.#model.trim();
    const best = this.#route?.best;
    if (this.#failure instanceof ApiError && this.#failure.code === "model_not_found") return this.#meant(asked);
    if (!best || this.#failure || asked !== best.model || !asked || asked === "auto") return nothing;
    if (store.providers.some((one) => one.models.some((model) => model.id === asked))) return nothing;
    const [head, ...rest] = asked.split("/");
    const said = rest.length ? t.noProvider(head!, store.label(best.provider)) : t.unknownModel(store.label(best.provider));
    return html`<p class="routing-doubt">${icon("alert")} ${said}</p>`;
  }

  /** The server refuses a slip in a provider's name: what was meant is one click away. */
  #meant(asked: string): TemplateResult | typeof nothing {
    const [head, ...rest] = asked.split(/[/:]/);
    const near = rest.length ? nearest(head!.toLowerCase(), this.at.store.providers.map((one) => one.id)) : null;
    if (!near) return nothing;
    const meant = [near, ...rest].join("/");
    return html`<p class="routing-doubt"><button class="plain" @click=${() => this.#correct(meant)}>
      ${texts[this.at.language].didYouMean(meant)}</button></p>`;
  }

  #correct(model: string): void {
    this.#model = model;
    this.at.requestUpdate();
    void this.run();
  }

  #suggestions(): string[] {
    const { store } = this.at;
    const known = store.providers.filter((one) => one.allowed && (one.shared_key || store.keysOf(one.id).length));
    return [
      "auto",
      ...store.taskNames.map((one) => `task:${one}`),
      ...known.flatMap((one) => one.models.map((model) => `${one.id}/${model.id}`)),
    ];
  }

  #onModel = (event: Event): void => {
    this.#model = (event.target as HTMLInputElement).value;
    this.#runSoon();
  };

  #runSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.run(), PAUSE_MILLISECONDS);
  }

  #sizeField(which: "input" | "output", label: string, hint: string): TemplateResult {
    return field({
      id: `routing-${which}`,
      label,
      hint,
      error: readWhole(this.#size[which], this.at.format.locale) === "bad" ? texts[this.at.language].badTokens : null,
      control: (id, describedBy) => html`<input id=${id} aria-describedby=${describedBy} inputmode="numeric"
        autocomplete="off" maxlength="9" .value=${live(this.#size[which])}
        @input=${(event: Event) => {
          this.#size = { ...this.#size, [which]: (event.target as HTMLInputElement).value };
          this.at.requestUpdate();
          this.#runSoon();
        }} />`,
    });
  }

  /** A whole number of tokens, or null for what is none. */
  #tokens(which: "input" | "output"): number | null {
    const number = readWhole(this.#size[which], this.at.format.locale);
    return number === "bad" || !number ? null : Math.min(number, MOST_TOKENS);
  }

  /** What a hop may cost: nobody knows before the answer is there, but it lies between these two. */
  #price({ price }: Hop): TemplateResult {
    const t = texts[this.at.language];
    const { format } = this.at;
    if (!price) return html`<span class="hop-price">${t.unpriced}</span>`;
    const { lowest, highest } = price;
    const title = t.priceTitle(format.number(price.output_tokens));
    const said = lowest === highest ? format.money(lowest) : t.price(format.money(lowest), format.money(highest));
    return html`<span class="hop-price" title=${title}>${said}</span>`;
  }

  #onTask = (event: Event): void => {
    this.#task = (event.target as HTMLSelectElement).value;
    void this.run();
  };

  #onNeed(need: (typeof NEEDS)[number][0], event: Event): void {
    this.#needs[need] = (event.target as HTMLInputElement).checked;
    void this.run();
  }
}
