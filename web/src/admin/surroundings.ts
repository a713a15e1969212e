import type { components } from "../api/schema.js";
import type { Surroundings } from "../core/view.js";

/** What the administrators' views have besides the frame. */
export interface AdminSurroundings extends Surroundings {
  /** The administrator. */
  readonly person: components["schemas"]["SessionOut"];
  /** The catalogue. */
  readonly providers: readonly components["schemas"]["AdminProviderOut"][];
  label(provider: string): string;
  loadProviders(): Promise<void>;
}
