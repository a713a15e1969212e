/** Tells the page around the panel that the person is gone, so that it can take everything of theirs away. */
import type { Surroundings } from "../core/view.js";

export function tellPage(at: Surroundings, what: "ownkey-signed-out" | "ownkey-deleted"): void {
  (at.root as ShadowRoot).host.dispatchEvent(new CustomEvent(what, { bubbles: true, composed: true }));
}
