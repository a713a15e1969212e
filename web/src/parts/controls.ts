/** Small controls that several views use. */
import { html, nothing, type TemplateResult } from "lit";
import { live } from "lit/directives/live.js";
import { icon } from "./icons.js";

export interface FieldParts {
  /** Unique in what is drawn. */
  id: string;
  label: string;
  /** Draws the control; it must carry the id, and the ids that describe it. */
  control: (id: string, describedBy: string) => unknown;
  hint?: unknown;
  /** Why the value is refused; read out at once. */
  error?: string | null;
  optional?: string;
}

/** A label, a control, a hint and a fault, tied together for screen readers. */
export function field(parts: FieldParts): TemplateResult {
  const { id } = parts;
  const describedBy = [parts.hint && parts.hint !== nothing ? `${id}-hint` : "", parts.error ? `${id}-error` : ""].filter(Boolean).join(" ");
  return html`
    <div class="field ${parts.error ? "wrong" : ""}">
      <label for=${id}
        >${parts.label}${parts.optional ? html` <span class="muted">(${parts.optional})</span>` : nothing}</label
      >
      ${parts.control(id, describedBy)}
      ${parts.hint && parts.hint !== nothing ? html`<p class="hint" id="${id}-hint">${parts.hint}</p>` : nothing}
      ${parts.error ? html`<p class="fault" id="${id}-error" role="alert">${icon("alert")}${parts.error}</p>` : nothing}
    </div>`;
}

/** On or off, at once. Drawn anew it shows `on`, whatever was clicked: a change that failed is not shown as made. */
export function toggle(
  label: string,
  on: boolean,
  change: (on: boolean) => void,
  options: { disabled?: boolean; hideLabel?: boolean } = {},
): TemplateResult {
  return html`<label class="switch ${options.hideLabel ? "bare" : ""}">
    <input
      type="checkbox"
      role="switch"
      .checked=${live(on)}
      ?disabled=${options.disabled}
      aria-label=${options.hideLabel ? label : nothing}
      @change=${(event: Event) => change((event.target as HTMLInputElement).checked)}
    />
    ${options.hideLabel ? nothing : html`<span>${label}</span>`}
  </label>`;
}

/** One of a few, side by side. */
export function segments<T extends string>(
  label: string,
  name: string,
  options: readonly { value: T; label: string }[],
  chosen: T,
  change: (value: T) => void,
): TemplateResult {
  return html`<fieldset class="segments">
    <legend class="hidden">${label}</legend>
    ${options.map(
      (one) =>
        html`<label
          ><input
            type="radio"
            name=${name}
            .checked=${one.value === chosen}
            @change=${() => change(one.value)}
          /><span>${one.label}</span></label
        >`,
    )}
  </fieldset>`;
}

export type Tone = "good" | "plain" | "warn" | "bad";

/** A state in a word, with a sign that does not depend on colour. */
export function pill(text: string, tone: Tone, title = ""): TemplateResult {
  const sign = { good: "check", plain: "clock", warn: "alert", bad: "close" } as const;
  return html`<span class="pill ${tone}" title=${title || nothing}>${icon(sign[tone])}${text}</span>`;
}

/** Whose money: the one distinction that is never left out. */
export function payerMark(payer: string, words: { own: string; shared: string }): TemplateResult {
  return payer === "own"
    ? html`<span class="payer own">${icon("key")}${words.own}</span>`
    : html`<span class="payer shared">${icon("share")}${words.shared}</span>`;
}

/** The first letters of a provider in a square: no logos of others, no image requests. */
export function monogram(label: string): TemplateResult {
  const words = label.split(/[\s.-]+/).filter(Boolean);
  const letters = words.length > 1 ? words[0]![0]! + words[1]![0]! : label.slice(0, 2);
  return html`<span class="monogram" aria-hidden="true">${letters}</span>`;
}

/** Grey bars in the shape of what is coming, so that nothing jumps when it arrives. */
export function skeleton(label: string, rows = 3): TemplateResult {
  return html`<div class="skeleton" role="status">
    <span class="hidden">${label}</span>
    ${Array.from({ length: rows }, () => html`<div class="bone"></div>`)}
  </div>`;
}

/** What a view shows when there is nothing yet: why, and the next step. */
export function empty(title: string, text: unknown, action: unknown = nothing): TemplateResult {
  return html`<div class="empty"><h3>${title}</h3><p>${text}</p>${action}</div>`;
}

/** Copies text; where the browser refuses (plain HTTP), says so through `failed`. */
export async function copyText(text: string, done: () => void, failed: () => void): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    done();
  } catch {
    failed();
  }
}

/** Hands a file to the browser's own download. */
export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download has its own reference by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
