/** What the parts of the server's own page have around them. */
import { html, type TemplateResult } from "lit";
import type { ApiClient } from "../api/client.js";
import type { components } from "../api/schema.js";
import type { Format } from "../core/format.js";
import type { Language } from "../core/language.js";
import { icon } from "../parts/icons.js";

export type Session = components["schemas"]["SessionOut"];

export interface PageSurroundings {
  readonly api: ApiClient;
  readonly language: Language;
  readonly format: Format;
  readonly root: ParentNode;
  /** Until what was asked for is drawn. */
  readonly updateComplete: Promise<boolean>;
  redraw(): void;
  /** The server says that somebody is signed in: ask who, and show their page. Throws ApiError. */
  enter(): Promise<void>;
  /** As if the page had just been opened. */
  restart(): void;
  /** Ends the session of this browser, in all its windows, and leaves what is shown. Throws ApiError. */
  signOut(): Promise<void>;
  /** Ask for a sign-in. */
  leave(why?: "ended" | "signedOut"): void;
}

/** The frame of everything that is shown to somebody who is not signed in. */
export function card(title: string, body: unknown): TemplateResult {
  return html`<main class="page-card card">
    ${mark()}
    <h1 tabindex="-1">${title}</h1>
    ${body}
  </main>`;
}

/** A message that matters more than the form below it. */
export function banner(kind: "bad" | "plain", text: unknown): TemplateResult {
  return html`<p class="page-banner ${kind}" role=${kind === "bad" ? "alert" : "status"}>
    ${icon(kind === "bad" ? "alert" : "check")}<span>${text}</span>
  </p>`;
}

/** The product's mark, as in favicon.svg. */
export function mark(): TemplateResult {
  return html`<svg class="page-mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" />
    <circle cx="11.5" cy="20.5" r="5" />
    <path d="m15.2 16.8 9.3-9.3M20.5 11.5l3.5 3.5" />
  </svg>`;
}
