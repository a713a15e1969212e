import { html, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { encryption } from "../i18n/admin_encryption.js";
import { shell } from "../i18n/shell.js";
import { pill, skeleton, type Tone } from "../parts/controls.js";
import { failure } from "../parts/failure.js";
import { icon } from "../parts/icons.js";
import type { AdminSurroundings } from "./surroundings.js";

type Status = components["schemas"]["EncryptionOut"];

/** Which wrapping keys are in use, and by how many users. */
export class EncryptionView extends View<AdminSurroundings> {
  #status: Status | null = null;
  #failure: unknown = null;

  override enter(): void {
    void this.#load();
  }

  override render(): TemplateResult {
    const t = encryption[this.at.language];
    return html`<section class="section">
      <header>
        <div>
          <h2>${t.title}</h2>
          <p>${t.lead}</p>
        </div>
      </header>
      ${this.#status
        ? this.#draw(this.#status)
        : this.#failure
          ? failure(this.#failure, this.at.language, () => void this.#load())
          : skeleton(shell[this.at.language].loading, 2)}
    </section>`;
  }

  #draw(status: Status): TemplateResult {
    const t = encryption[this.at.language];
    const { format } = this.at;
    const ids = [...new Set([status.primary_key, ...status.known_keys, ...Object.keys(status.users)])];
    const lost = status.missing.reduce((sum, id) => sum + (status.users[id] ?? 0), 0);
    return html`<div class="stack">
      ${status.missing.length
        ? html`<div class="card" role="alert">
            <h3 class="fault">${icon("alert")} ${t.missingTitle}</h3>
            <p>${t.missingText(format.number(lost), format.list(status.missing))}</p>
          </div>`
        : html`<p class="row">${icon("check")} ${Object.keys(status.users).length ? t.fine : t.none}</p>`}
      <div class="table cards">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${t.key}</th>
              <th role="columnheader" scope="col" class="number">${t.users}</th>
              <th role="columnheader" scope="col">${t.state}</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${ids.map(
              (id) =>
                html`<tr role="row">
                  <th role="rowheader" scope="row"><code>${id}</code></th>
                  <td role="cell" class="number" data-label=${t.users}>${format.number(status.users[id] ?? 0)}</td>
                  <td role="cell" data-label=${t.state}>${this.#state(status, id)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </div>`;
  }

  #state(status: Status, id: string): TemplateResult {
    const t = encryption[this.at.language];
    const [text, tone]: [string, Tone] = status.missing.includes(id)
      ? [t.missing, "bad"]
      : id === status.primary_key
        ? [t.active, "good"]
        : status.users[id]
          ? [t.old, "warn"]
          : [t.idle, "plain"];
    return pill(text, tone);
  }

  async #load(): Promise<void> {
    try {
      this.#status = await this.at.api.get("/api/admin/encryption");
    } catch (error) {
      if (this.#status) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.update();
  }
}
