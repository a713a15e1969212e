import { html, type TemplateResult } from "lit";
import { View } from "../core/view.js";
import type { AdminSurroundings } from "./surroundings.js";

export class UsersView extends View<AdminSurroundings> {
  override render(): TemplateResult {
    return html``;
  }
}
