/** The bar at the top of the server's own page, and the choices that hold for it: language, appearance, leaving. */
import { html, nothing, type TemplateResult } from "lit";
import { LANGUAGES, type Language } from "../core/language.js";
import { page } from "../i18n/page.js";
import { segments } from "../parts/controls.js";
import { icon } from "../parts/icons.js";
import { APPEARANCES, type Choices } from "./choices.js";
import { mark, type Session } from "./surroundings.js";

// Everybody finds their own language under its own name.
const NAMES: Record<Language, string> = { en: "English", de: "Deutsch", es: "Español" };

export interface HeaderParts {
  session: Session;
  choices: Choices;
  /** Which of the two pages this is. */
  here: "panel" | "admin";
  /** The address of the server, ending in a slash. */
  base: string;
  redraw: () => void;
  onSignOut: () => void;
}

export function header(parts: HeaderParts): TemplateResult {
  const t = page[parts.choices.language];
  const { session, here } = parts;
  const name = session.display_name ?? session.login ?? session.user_id;
  const links = [
    { id: "panel", label: t.settings, href: parts.base },
    { id: "admin", label: t.administration, href: new URL("admin", parts.base).href },
  ];
  return html`<header class="page-header">
    <div class="page-width">
      <span class="page-product">${mark()}Ownkey</span>
      ${session.scopes.includes("admin")
        ? html`<nav aria-label=${t.pages}>
            ${links.map(
              (one) => html`<a href=${one.href} aria-current=${one.id === here ? "page" : nothing}>${one.label}</a>`,
            )}
          </nav>`
        : nothing}
      <button
        class="page-who"
        popovertarget="page-menu"
        aria-label=${`${t.account}: ${name}`}
        title=${name}
        aria-expanded="false"
      >
        ${icon("user")}<span>${name}</span>${icon("chevron")}
      </button>
    </div>
    <div id="page-menu" popover class="page-menu" role="group" aria-label=${t.account} @toggle=${onToggle}>
      <p class="page-me"><span class="muted small">${t.signedInAs}</span><strong title=${name}>${name}</strong></p>
      ${controls(parts.choices, parts.redraw)}
      <button @click=${parts.onSignOut}>${icon("signOut")}${t.signOut}</button>
    </div>
  </header>`;
}

/** Language and appearance. */
export function controls(choices: Choices, redraw: () => void): TemplateResult {
  const t = page[choices.language];
  return html`<div class="page-choices">
    <div>
      <span class="muted small" aria-hidden="true">${t.language}</span>
      ${segments(
        t.language,
        "page-language",
        LANGUAGES.map((value) => ({ value, label: NAMES[value] })),
        choices.language,
        (language) => {
          choices.speak(language);
          redraw();
        },
      )}
    </div>
    <div>
      <span class="muted small" aria-hidden="true">${t.appearance}</span>
      ${segments(
        t.appearance,
        "page-appearance",
        APPEARANCES.map((value) => ({ value, label: t.appearances[value] })),
        choices.appearance,
        (appearance) => {
          choices.look(appearance);
          redraw();
        },
      )}
    </div>
  </div>`;
}

function onToggle(event: Event): void {
  const box = event.currentTarget as HTMLElement;
  const open = (event as ToggleEvent).newState === "open";
  box.parentElement?.querySelector(".page-who")?.setAttribute("aria-expanded", String(open));
}
