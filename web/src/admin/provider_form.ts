/** The form for a provider: what is typed, how it becomes the server's row, and how it is drawn. */
import { html, nothing, type TemplateResult } from "lit";
import type { FieldFault } from "../api/client.js";
import type { components } from "../api/schema.js";
import type { Language } from "../core/language.js";
import { providers } from "../i18n/admin_providers.js";
import { shell } from "../i18n/shell.js";
import { field } from "../parts/controls.js";

type Provider = components["schemas"]["AdminProviderOut"];
export type ProviderRow = components["schemas"]["ProviderInput"];
type Quirk = ProviderRow["quirks"][number];

// What a provider cannot do. What it can do more than others has no field here, and stays as it was.
const QUIRKS = ["no_stream_options", "max_tokens_only", "no_embeddings", "no_model_list"] as const satisfies readonly Quirk[];
const DIALECTS = ["openai_chat", "openai_responses", "anthropic_messages", "gemini"] as const;
type ModelRow = components["schemas"]["ModelInput"];
/** What is said of a model that nobody has described. */
const UNKNOWN_MODEL: ModelRow = {
  dialect: null, context_tokens: null, tools: true, images: false, documents: false, audio: false, json_schema: false, embedding: false,
};
const AUTHS = ["bearer", "none", "header"] as const;
const HEADER = "header:";
const ID = /^[a-z][a-z0-9_]{0,39}$/;

/** Every field as a person types it. */
export interface ProviderDraft {
  id: string;
  label: string;
  dialect: string;
  base_url: string;
  auth: string;
  header: string;
  model: string;
  models: string;
  get_key_url: string;
  docs_url: string;
  key_prefixes: string;
  serves: string;
  probe: string;
  prices: string;
  headers: string;
  quirks: readonly Quirk[];
  local: boolean;
}

export function emptyDraft(): ProviderDraft {
  return {
    id: "",
    label: "",
    dialect: "openai_chat",
    base_url: "",
    auth: "bearer",
    header: "",
    model: "",
    models: "",
    get_key_url: "",
    docs_url: "",
    key_prefixes: "",
    serves: "",
    probe: "GET /models",
    prices: "",
    headers: "",
    quirks: [],
    local: false,
  };
}

export function draftOf(one: Provider): ProviderDraft {
  return {
    ...emptyDraft(),
    id: one.id,
    label: one.label,
    dialect: one.dialect,
    base_url: one.base_url,
    auth: one.auth.startsWith(HEADER) ? "header" : one.auth,
    header: one.auth.startsWith(HEADER) ? one.auth.slice(HEADER.length) : "",
    model: one.default_models["default"] ?? "",
    models: one.models.map((model) => model.id).join("\n"),
    get_key_url: one.get_key_url ?? "",
    docs_url: one.docs_url ?? "",
    key_prefixes: one.key_prefixes.join(", "),
    serves: one.serves.join(", "),
    probe: one.probe,
    prices: one.prices ?? "",
    headers: Object.entries(one.headers).map(([name, value]) => `${name}: ${value}`).join("\n"),
    quirks: one.quirks as Quirk[],
    local: one.local,
  };
}

/** The row that the server keeps. What the form has no field for stays as it was. */
export function rowOf(draft: ProviderDraft, before: Provider | null): ProviderRow {
  const known = new Map(before?.models.map((model) => [model.id, model]));
  const { default: _, ...others } = before?.default_models ?? {};
  const models = lines(draft.models).map((id) => {
    const { id: __, ...can } = known.get(id) ?? { id, ...UNKNOWN_MODEL };
    return [id, can as ModelRow] as const;
  });
  const headers = lines(draft.headers).map((line) => {
    const [name, ...value] = line.split(":");
    return [name!.trim(), value.join(":").trim()] as const;
  });
  return {
    label: draft.label.trim(),
    dialect: draft.dialect as ProviderRow["dialect"],
    also: (before?.also ?? []).filter((one) => one !== draft.dialect) as ProviderRow["also"],
    base_url: draft.base_url.trim(),
    auth: draft.auth === "header" ? `${HEADER}${draft.header.trim().toLowerCase()}` : draft.auth,
    defaults: { ...others, ...(draft.model.trim() ? { default: draft.model.trim() } : {}) },
    models: Object.fromEntries(models),
    operations: (before?.operations ?? {}) as ProviderRow["operations"],
    counts_tokens: before?.counts_tokens ?? false,
    get_key_url: draft.get_key_url.trim() || null,
    docs_url: draft.docs_url.trim() || null,
    key_prefixes: commas(draft.key_prefixes),
    serves: commas(draft.serves),
    probe: draft.probe.trim() || "GET /models",
    prices: draft.prices.trim() || null,
    headers: Object.fromEntries(headers),
    quirks: [...draft.quirks],
    fields: before?.fields.map((one) => ({ ...one })) ?? [],
    local: draft.local,
  };
}

/** An id as a name suggests it. */
export function suggestId(label: string): string {
  return label
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^[^a-z]+|_+$/g, "")
    .slice(0, 40);
}

/** What the form itself can tell: fields that are needed and empty, and an id that is none. */
export function findFaults(draft: ProviderDraft, language: Language): FieldFault[] {
  const t = providers[language];
  const needed: (keyof ProviderDraft)[] = ["label", "id", "base_url", ...(draft.auth === "header" ? ["header" as const] : [])];
  const faults = needed
    .filter((name) => !String(draft[name]).trim())
    .map((name) => ({ field: name as string, message: t.missing }));
  if (draft.id.trim() && !ID.test(draft.id.trim())) faults.push({ field: "id", message: t.badId });
  return faults;
}

/** The control that a field of the server's row is shown at, if any. */
function controlOf(said: string, draft: ProviderDraft): keyof ProviderDraft | null {
  const name = said.split(/[.[]/)[0]!;
  if (name === "auth") return draft.auth === "header" ? "header" : "auth";
  if (name in draft) return name as keyof ProviderDraft;
  return name === "defaults" ? "model" : null;
}

/** Whether each fault has a place in the form where it is told. */
export function areTold(faults: readonly FieldFault[], draft: ProviderDraft): boolean {
  return faults.length > 0 && faults.every((one) => controlOf(one.field, draft) !== null);
}

export function drawForm(
  draft: ProviderDraft,
  isNew: boolean,
  faults: readonly FieldFault[],
  language: Language,
  change: (change: Partial<ProviderDraft>) => void,
): TemplateResult {
  const t = providers[language];
  const s = shell[language];
  const faultOf = (name: keyof ProviderDraft): string | null =>
    faults.find((one) => controlOf(one.field, draft) === name)?.message ?? null;
  const text = (
    name: Exclude<keyof ProviderDraft, "quirks" | "local">,
    label: string,
    options: { hint?: string; optional?: boolean; rows?: number; type?: string; mono?: boolean; disabled?: boolean } = {},
  ): TemplateResult =>
    field({
      id: `provider-${name}`,
      label,
      hint: options.hint,
      error: faultOf(name),
      ...(options.optional ? { optional: s.optional } : {}),
      control: (id, describedBy) =>
        options.rows
          ? html`<textarea
              id=${id}
              class="mono"
              rows=${options.rows}
              spellcheck="false"
              aria-describedby=${describedBy || nothing}
              .value=${draft[name]}
              @input=${(event: Event) => change({ [name]: (event.target as HTMLTextAreaElement).value })}
            ></textarea>`
          : html`<input
              id=${id}
              class=${options.mono ? "mono" : ""}
              type=${options.type ?? "text"}
              autocomplete="off"
              autocapitalize="off"
              spellcheck="false"
              aria-describedby=${describedBy || nothing}
              aria-invalid=${faultOf(name) ? "true" : nothing}
              ?disabled=${options.disabled}
              ?autofocus=${name === "label"}
              .value=${draft[name]}
              @input=${(event: Event) => change({ [name]: (event.target as HTMLInputElement).value })}
            />`,
    });
  const choose = (
    name: "dialect" | "auth",
    label: string,
    values: readonly string[],
    names: Record<string, string>,
  ): TemplateResult =>
    field({
      id: `provider-${name}`,
      label,
      error: faultOf(name),
      control: (id, describedBy) => html`<select
        id=${id}
        aria-describedby=${describedBy || nothing}
        @change=${(event: Event) => change({ [name]: (event.target as HTMLSelectElement).value })}
      >
        ${values.map((one) => html`<option value=${one} .selected=${one === draft[name]}>${names[one] ?? one}</option>`)}
      </select>`,
    });
  const tick = (label: string, on: boolean, set: (on: boolean) => void): TemplateResult =>
    html`<label class="choice"
      ><input type="checkbox" .checked=${on} @change=${(event: Event) => set((event.target as HTMLInputElement).checked)} /><span
        >${label}</span
      ></label
    >`;
  return html`
    <div class="provider-pair">
      ${text("label", t.label)} ${text("id", t.id, { mono: true, disabled: !isNew, ...(isNew ? { hint: t.idHint } : {}) })}
    </div>
    ${choose("dialect", t.speaks, DIALECTS, t.speaksAs)}
    ${text("base_url", t.baseUrl, { type: "url", mono: true, hint: t.baseUrlHint })}
    <div class="provider-pair">
      ${choose("auth", t.auth, AUTHS, t.auths)} ${draft.auth === "header" ? text("header", t.header, { mono: true }) : nothing}
    </div>
    ${text("model", t.model, { mono: true, optional: true })}
    ${text("models", t.modelList, { rows: 3, optional: true, hint: t.modelListHint })}
    ${tick(t.local, draft.local, (local) => change({ local }))}
    ${faultOf("local") ? html`<p class="fault" role="alert">${faultOf("local")}</p>` : nothing}
    <details class="provider-further">
      <summary>${t.further}</summary>
      <div class="stack">
        ${text("get_key_url", t.getKey, { type: "url", mono: true, optional: true })}
        ${text("docs_url", t.docs, { type: "url", mono: true, optional: true })}
        ${text("key_prefixes", t.prefixes, { mono: true, optional: true, hint: t.prefixesHint })}
        ${text("serves", t.serves, { mono: true, optional: true, hint: t.servesHint })}
        ${text("probe", t.probe, { mono: true })}
        ${text("prices", t.prices, { mono: true, optional: true, hint: t.pricesHint })}
        ${text("headers", t.headers, { rows: 2, optional: true, hint: t.headersHint })}
        <fieldset>
          <legend class="provider-legend">${t.quirks}</legend>
          ${faultOf("quirks") ? html`<p class="fault" role="alert">${faultOf("quirks")}</p>` : nothing}
          ${QUIRKS.map((one) =>
            tick(t.quirkNames[one], draft.quirks.includes(one), (on) =>
              change({ quirks: on ? [...draft.quirks, one] : draft.quirks.filter((other) => other !== one) }),
            ),
          )}
        </fieldset>
      </div>
    </details>
  `;
}

function lines(text: string): string[] {
  return text.split(/\r?\n/).map((one) => one.trim()).filter(Boolean);
}

function commas(text: string): string[] {
  return text.split(",").map((one) => one.trim()).filter(Boolean);
}
