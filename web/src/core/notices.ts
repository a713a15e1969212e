/** Short messages at the foot of the panel, spoken by screen readers; one at a time, the newest. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import { icon } from "../parts/icons.js";
import { explain } from "./explain.js";
import type { Language } from "./language.js";
import { shell } from "../i18n/shell.js";

export interface Notice {
  kind: "success" | "reminder" | "error";
  text: string;
  action?: { label: string; run: () => void };
}

const SECONDS = 8;

export class Notices {
  #current: Notice | null = null;
  #timer = 0;
  #held = false;

  constructor(
    private readonly redraw: () => void,
    private readonly language: () => Language,
    private readonly onError: (error: ApiError) => void,
  ) {}

  /** Says that something worked; `undo` adds a button that takes it back. */
  done(text: string, undo?: () => void): void {
    this.#show({ kind: "success", text, ...(undo && { action: { label: shell[this.language()].undo, run: undo } }) });
  }

  /** Says what is still to be done; stays until it is closed. */
  remind(text: string, action: NonNullable<Notice["action"]>): void {
    this.#show({ kind: "reminder", text, action });
  }

  /** Says why something did not work, and what to do. Errors stay until they are closed. */
  failed(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof ApiError) this.onError(error);
    else console.error(error);
    this.#show({ kind: "error", text: explain(error, this.language()) });
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#current = null;
    this.redraw();
  }

  /** Both live regions are always in the document: one that appears together with its text is often not read out. */
  render(): TemplateResult {
    const one = this.#current;
    return html`
      <div class="notices" @pointerenter=${() => this.#hold(true)} @pointerleave=${() => this.#hold(false)}
        @focusin=${() => this.#hold(true)} @focusout=${() => this.#hold(false)}>
        <div role="status">${one && one.kind !== "error" ? this.#draw(one) : nothing}</div>
        <div role="alert">${one?.kind === "error" ? this.#draw(one) : nothing}</div>
      </div>`;
  }

  #draw(one: Notice): TemplateResult {
    const { action } = one;
    return html`<div class="notice ${one.kind}">
      ${icon(one.kind === "success" ? "check" : "alert")}
      <p>${one.text}</p>
      ${action
        ? html`<button class="plain" @click=${() => (this.close(), action.run())}>${action.label}</button>`
        : nothing}
      <button class="icon" aria-label=${shell[this.language()].close} @click=${() => this.close()}>${icon("close")}</button>
    </div>`;
  }

  #show(one: Notice): void {
    this.#current = one;
    this.redraw();
    this.#count();
  }

  #hold(held: boolean): void {
    this.#held = held;
    this.#count();
  }

  #count(): void {
    clearTimeout(this.#timer);
    if (this.#current?.kind === "success" && !this.#held) {
      this.#timer = window.setTimeout(() => this.close(), SECONDS * 1000);
    }
  }
}
