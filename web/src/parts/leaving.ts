/** Tells the page around the panel that the person is gone, so that it can take everything of theirs away. */
import type { Surroundings } from "../core/view.js";
import type { Receipt } from "./receipt.js";

export function tellPage(at: Surroundings, what: "ownkey-signed-out" | "ownkey-deleted", detail?: Receipt): void {
  (at.root as ShadowRoot).host.dispatchEvent(new CustomEvent(what, { bubbles: true, composed: true, detail }));
}
