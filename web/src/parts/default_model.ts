/** The model of a provider that nobody has chosen. Apart from the picker, which comes only when it is opened. */
import type { PanelSurroundings } from "../panel.js";

/**
 * The model that a provider's requests get when nothing names one; null when there is none. Without `task` the
 * person's own default there does not count: it is what they are choosing.
 */
export function defaultModel(at: PanelSurroundings, provider: string, task?: string | null): string | null {
  const defaults = at.store.provider(provider)?.default_models ?? {};
  if (task === "embedding") return defaults["embedding"] ?? null;
  const wish = task === undefined ? null : at.store.preference(provider).default_model;
  return wish || (defaults[task ?? ""] ?? defaults["default"] ?? null);
}
