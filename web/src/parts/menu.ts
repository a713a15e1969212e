/** A button with a menu, on the browser's own popover: it closes by Escape and by a click elsewhere. */
import { html, nothing, type TemplateResult } from "lit";
import { icon, type IconName } from "./icons.js";

export interface MenuItem {
  label: string;
  icon?: IconName;
  danger?: boolean;
  disabled?: boolean;
  run: () => void;
}

/** @param id unique in the panel @param label what a screen reader calls the button */
export function menu(id: string, label: string, items: readonly (MenuItem | null)[]): TemplateResult {
  return html`
    <button class="icon" popovertarget=${id} aria-haspopup="menu" aria-expanded="false" aria-label=${label}>
      ${icon("more")}
    </button>
    <div id=${id} popover role="menu" class="menu" aria-label=${label}
      @beforetoggle=${giveFocusBack} @toggle=${onToggle} @keydown=${onKey}>
      ${items.map((item) =>
        item
          ? html`<button
              role="menuitem"
              tabindex="-1"
              class=${item.danger ? "danger" : ""}
              ?disabled=${item.disabled}
              @click=${(event: Event) => {
                ((event.currentTarget as HTMLElement).parentElement as HTMLElement).hidePopover();
                item.run();
              }}
            >
              ${item.icon ? icon(item.icon) : nothing}<span>${item.label}</span>
            </button>`
          : nothing,
      )}
    </div>`;
}

/** The item that has the focus goes: without this the focus would be nowhere, and a dialog would not know where from. */
function giveFocusBack(event: Event): void {
  const box = event.currentTarget as HTMLElement;
  if ((event as ToggleEvent).newState === "closed" && box.matches(":focus-within")) {
    (box.previousElementSibling as HTMLElement).focus();
  }
}

function onToggle(event: Event): void {
  const box = event.currentTarget as HTMLElement;
  const open = (event as ToggleEvent).newState === "open";
  const button = box.previousElementSibling as HTMLElement;
  button.setAttribute("aria-expanded", String(open));
  if (!open) return;
  // Beside the button, on the side where there is room.
  const edge = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  const rtl = getComputedStyle(button).direction === "rtl";
  const left = rtl ? edge.left : edge.right - width;
  const top = edge.bottom + 4 + height > innerHeight ? edge.top - height - 4 : edge.bottom + 4;
  box.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  box.style.top = `${Math.max(8, top)}px`;
  itemsOf(box)[0]?.focus();
}

function onKey(event: KeyboardEvent): void {
  const box = event.currentTarget as HTMLElement;
  const items = itemsOf(box);
  const at = items.indexOf((box.getRootNode() as ShadowRoot).activeElement as HTMLButtonElement);
  const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
  const next = moves[event.key];
  if (next !== undefined) {
    event.preventDefault();
    items.at(next % items.length)?.focus();
  } else if (event.key === "Tab") {
    box.hidePopover();
  }
}

function itemsOf(box: HTMLElement): HTMLButtonElement[] {
  return [...box.querySelectorAll<HTMLButtonElement>("[role=menuitem]:not(:disabled)")];
}
