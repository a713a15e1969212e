import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { View } from "../core/view.js";
import { encryption } from "../i18n/admin_encryption.js";
import { shell } from "../i18n/shell.js";
import { ConfirmIdentity } from "../parts/confirm_identity.js";
import { pill, skeleton, type Tone } from "../parts/controls.js";
import { dialog } from "../parts/dialog.js";
import { failure } from "../parts/failure.js";
import { icon } from "../parts/icons.js";
import passwordStyles from "../parts/password.css?inline";
import styles from "./encryption.css?inline";
import type { AdminSurroundings } from "./surroundings.js";

type Status = components["schemas"]["EncryptionOut"];
type Key = components["schemas"]["WrappingKeyOut"];
type Step = "promote" | "retire" | "destroy";

const LOOK_MS = 1000;
/** An estimate looks back this far: what was done before a pause says nothing about what is left. */
const LOOK_BACK_MS = 15_000;

const TONES: Record<string, Tone> = { primary: "good", retiring: "warn" };

/** Which wrapping keys there are, who holds them, and the way from one to the next. */
export class EncryptionView extends View<AdminSurroundings> {
  override readonly styles = passwordStyles + styles;

  #status: Status | null = null;
  #failure: unknown = null;
  #open: { step: Step; key: Key } | null = null;
  #busy = false;
  #timer = 0;
  #here = false;
  /** How many data keys were left at which moment. */
  #seen: { at: number; left: number }[] = [];
  #identity = new ConfirmIdentity(this.at);

  override enter(): void {
    this.#here = true;
    void this.#load();
  }

  override leave(): void {
    this.#here = false;
    this.#open = null;
    this.#identity.close();
    clearTimeout(this.#timer);
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
      </section>
      ${this.#drawDialog()} ${this.#identity.render()}`;
  }

  #draw(status: Status): TemplateResult {
    const t = encryption[this.at.language];
    const { format } = this.at;
    const lost = status.keys.filter((key) => status.missing.includes(key.id)).reduce((sum, key) => sum + key.keys, 0);
    return html`<div class="stack">
      ${status.missing.length
        ? html`<div class="card" role="alert">
            <h3 class="fault">${icon("alert")} ${t.missingTitle}</h3>
            <p>${t.missingText(format.number(lost), format.list(status.missing))}</p>
          </div>`
        : html`<p class="row">${icon("check")} ${status.keys.some((key) => key.keys) ? t.fine : t.none}</p>`}
      ${this.#drawProgress(status)}
      <div class="table cards">
        <table role="table">
          <caption class="hidden">${t.title}</caption>
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${t.key}</th>
              <th role="columnheader" scope="col" class="number">${t.users}</th>
              <th role="columnheader" scope="col">${t.state}</th>
              <th role="columnheader" scope="col">${t.lacking}</th>
              <th role="columnheader" scope="col"><span class="hidden">${t.actions}</span></th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${status.keys.map((key) => this.#drawKey(status, key))}
          </tbody>
        </table>
      </div>
      <p>${t.next[this.#next(status)]?.(status.from_file)}</p>
    </div>`;
  }

  #drawKey(status: Status, key: Key): TemplateResult {
    const t = encryption[this.at.language];
    const { format } = this.at;
    const gone = key.phase === "destroyed" || key.phase === "retired";
    const lacking = gone ? [] : status.processes.filter((one) => !one.wrapping_keys.includes(key.id));
    return html`<tr role="row">
      <th role="rowheader" scope="row"><code>${key.id}</code></th>
      <td role="cell" class="number" data-label=${t.users}>${format.number(key.keys)}</td>
      <td role="cell" data-label=${t.state}>
        ${status.missing.includes(key.id) ? pill(t.missing, "bad") : pill(t.phases[key.phase] ?? key.phase, TONES[key.phase] ?? "plain")}
      </td>
      <td role="cell" data-label=${t.lacking}>
        ${lacking.length ? format.list(lacking.map((one) => `${one.host}:${one.pid}`)) : "–"}
      </td>
      <td role="cell">${this.#drawStep(status, key, lacking.length > 0)}</td>
    </tr>`;
  }

  /** The one step that this key can take now. */
  #drawStep(status: Status, key: Key, lacking: boolean): TemplateResult | typeof nothing {
    const t = encryption[this.at.language];
    const step: Step | null =
      key.phase === "known" && !lacking
        ? "promote"
        : key.phase === "retiring"
          ? key.keys
            ? "promote"
            : "retire"
          : key.phase === "retired" && !status.processes.some((one) => one.wrapping_keys.includes(key.id))
            ? "destroy"
            : null;
    if (!step) return nothing;
    const label = step === "promote" && key.phase === "retiring" ? t.restore : t.steps[step];
    return html`<button
      type="button"
      ?disabled=${this.#busy}
      aria-label=${`${label}: ${key.id}`}
      @click=${() => {
        this.#open = { step, key };
        this.update();
      }}
    >
      ${label}
    </button>`;
  }

  #drawProgress(status: Status): TemplateResult | typeof nothing {
    const t = encryption[this.at.language];
    const { format } = this.at;
    if (!status.left || !status.keys.some((key) => key.phase === "retiring")) return nothing;
    const done = Math.max(0, status.to_move - status.left);
    const remaining = this.#estimate(status.left);
    return html`<div class="card">
      <label for="rotation-progress">${t.progress(format.number(done), format.number(status.to_move))}</label>
      <progress id="rotation-progress" class="encryption-progress" max=${status.to_move} .value=${done}></progress>
      <p>${remaining === null ? t.paused : t.remaining(format.duration(remaining))}</p>
      ${status.working || remaining !== null
        ? nothing
        : html`<button type="button" class="primary" ?disabled=${this.#busy} @click=${() => void this.#rewrap()}>${t.goOn}</button>`}
    </div>`;
  }

  #drawDialog(): TemplateResult | typeof nothing {
    const open = this.#open;
    if (!open) return nothing;
    const t = encryption[this.at.language];
    const close = () => {
      this.#open = null;
      this.update();
    };
    const restoring = open.step === "promote" && open.key.phase === "retiring";
    const label = restoring ? t.restore : t.steps[open.step];
    return dialog({
      title: `${label}: ${open.key.id}`,
      closeLabel: shell[this.at.language].close,
      onClose: close,
      body: html`<p>${restoring ? t.restoreText : t.stepTexts[open.step]}</p>`,
      actions: html`<button type="button" @click=${close}>${shell[this.at.language].cancel}</button
        ><button
          type="button"
          class=${open.step === "destroy" ? "danger" : "primary"}
          ?disabled=${this.#busy}
          @click=${() => void this.#take(open.step, open.key)}
        >
          ${label}
        </button>`,
    });
  }

  #next(status: Status): string {
    const phases = (phase: string) => status.keys.filter((key) => key.phase === phase);
    if (status.missing.length) return "missing";
    if (status.left) return "moving";
    if (phases("retiring").length) return "retire";
    if (phases("retired").length) return "destroy";
    const known = phases("known");
    if (!known.length) return "add";
    return known.some((key) => status.processes.every((one) => one.wrapping_keys.includes(key.id))) ? "promote" : "everywhere";
  }

  /** Milliseconds until nothing is left, by the pace of the last seconds; null while nothing moves. */
  #estimate(left: number): number | null {
    const first = this.#seen[0];
    const last = this.#seen.at(-1);
    if (!first || !last || first.left <= last.left) return null;
    return (left * (last.at - first.at)) / (first.left - last.left);
  }

  async #take(step: Step, key: Key): Promise<void> {
    await this.#work(async () => {
      const path = { path: { key_id: key.id } };
      const { api } = this.at;
      if (step === "promote") this.#adopt(await api.post("/api/admin/encryption/keys/{key_id}/promote", undefined, path));
      else if (step === "retire") this.#adopt(await api.post("/api/admin/encryption/keys/{key_id}/retire", undefined, path));
      else this.#adopt(await api.post("/api/admin/encryption/keys/{key_id}/destroy", undefined, path));
    });
    this.#open = null;
    this.update();
  }

  async #rewrap(): Promise<void> {
    await this.#work(async () => this.#adopt(await this.at.api.post("/api/admin/encryption/rewrap")));
  }

  async #work(task: () => Promise<void>): Promise<void> {
    this.#busy = true;
    this.update();
    try {
      await this.#identity.run(task);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.at.notices.failed(error);
    }
    this.#busy = false;
    this.update();
  }

  #adopt(status: Status): void {
    this.#status = status;
    const now = Date.now();
    this.#seen = [...this.#seen.filter((one) => one.at > now - LOOK_BACK_MS), { at: now, left: status.left }];
    clearTimeout(this.#timer);
    if (this.#here && status.left && status.keys.some((key) => key.phase === "retiring")) {
      this.#timer = setTimeout(() => void this.#load(), LOOK_MS);
    }
  }

  async #load(): Promise<void> {
    try {
      this.#adopt(await this.at.api.get("/api/admin/encryption"));
    } catch (error) {
      if (this.#status) this.at.notices.failed(error);
      else this.#failure = error;
    }
    this.update();
  }
}
