/** The dialog in which a key is pasted, tested and saved: a new one, or one in the place of another. */
import { html, nothing, type TemplateResult } from "lit";
import { ApiError } from "../api/client.js";
import { explain } from "../core/explain.js";
import type { Credential, Preference, Provider } from "../core/store.js";
import { keys } from "../i18n/keys.js";
import { shell } from "../i18n/shell.js";
import { words } from "../i18n/words.js";
import { dialog } from "../parts/dialog.js";
import { field, pill, type Tone } from "../parts/controls.js";
import { beginExpiry, expiryField, lacksDay, momentOf, type Expiry } from "../parts/expiry.js";
import { icon } from "../parts/icons.js";
import type { PanelSurroundings } from "../panel.js";
import { locate, place, readLanes, wishesOf } from "./key_order.js";
import { foundByTest, type TestResult } from "./key_row.js";

const TONES: Record<string, Tone> = { works: "good", limited: "warn", rate_limited: "warn", no_credit: "warn" };
// Right keys: saved without asking again.
const SAVED_AT_ONCE = new Set(["works", "limited", "rate_limited"]);

export class KeyForm {
  #secret = "";
  #shown = false;
  #provider: string;
  /** Whether the person chose the provider: then a pasted key does not change it any more. */
  #chosen: boolean;
  #label = "";
  #expiry: Expiry = beginExpiry(null);
  #baseUrl = "";
  #fields: Record<string, string> = {};
  #result: TestResult | null = null;
  #busy = false;
  #fault: { field: string; text: string } | null = null;

  /**
   * @param replaced the key whose place the new one takes
   * @param onStored gets the stored key's id and what its test found
   */
  constructor(
    private readonly at: PanelSurroundings,
    provider: string,
    private readonly replaced: Credential | null,
    private readonly onStored: (key: string, result: TestResult | null) => void,
    private readonly onClose: (saved: boolean) => void,
  ) {
    this.#provider = replaced?.provider ?? provider;
    this.#chosen = Boolean(this.#provider);
  }

  render(): TemplateResult {
    const t = keys[this.at.language];
    const provider = this.at.store.provider(this.#provider);
    const saveAnyway = this.#result && !SAVED_AT_ONCE.has(this.#result.outcome);
    return dialog({
      title: this.replaced ? t.replaceTitle(this.at.store.label(this.replaced.provider)) : t.add,
      closeLabel: shell[this.at.language].close,
      onClose: () => this.#close(false),
      onSubmit: () => void this.#testAndSave(),
      body: html`
        ${this.#secretField(provider)} ${this.replaced ? nothing : this.#providerField(provider)}
        ${provider?.fields.map((one) =>
          field({
            id: `part-${one.name}`,
            label: one.label,
            error: this.#faultOf(one.name),
            control: (id, describedBy) => html`<input
              id=${id}
              aria-describedby=${describedBy}
              placeholder=${one.example}
              autocomplete="off"
              spellcheck="false"
              .value=${this.#fields[one.name] ?? ""}
              @input=${(event: Event) => (this.#fields = { ...this.#fields, [one.name]: valueOf(event) })}
            />`,
          }),
        )}
        ${this.replaced ? nothing : this.#advanced(provider)} ${this.#outcome(provider)}
      `,
      actions: html`
        ${saveAnyway
          ? html`<button type="button" ?disabled=${this.#busy} @click=${() => void this.#save()}>${t.saveAnyway}</button>`
          : nothing}
        <button class="primary" ?disabled=${this.#busy}>${this.#busy ? t.testing : t.testAndSave}</button>
      `,
    });
  }

  #secretField(provider: Provider | undefined): TemplateResult | typeof nothing {
    const t = keys[this.at.language];
    if (provider && !provider.needs_key) return html`<p>${t.noKey}</p>`;
    return field({
      id: "secret",
      label: t.paste,
      hint: t.pasteHint,
      error: this.#faultOf("secret") ?? (this.#result?.outcome === "wrong_key" ? t.refused(provider!.label) : null),
      control: (id, describedBy) => html`<div class="keys-secret">
        <input
          id=${id}
          class="mono"
          autofocus
          type=${this.#shown ? "text" : "password"}
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          data-1p-ignore
          data-lpignore="true"
          aria-describedby=${describedBy}
          .value=${this.#secret}
          @input=${(event: Event) => this.#typed(valueOf(event))}
        />
        <button
          type="button"
          class="icon"
          aria-pressed=${this.#shown ? "true" : "false"}
          aria-label=${this.#shown ? t.hide : t.show}
          @click=${() => {
            this.#shown = !this.#shown;
            this.at.requestUpdate();
          }}
        >
          ${icon(this.#shown ? "eyeOff" : "eye")}
        </button>
      </div>`,
    });
  }

  #providerField(provider: Provider | undefined): TemplateResult {
    const t = keys[this.at.language];
    const candidates = this.#chosen ? [] : guessProviders(this.#secret, this.at.store.providers);
    return html`${candidates.length
      ? html`<p class="row small" role="status">
          <span class="muted">${t.looksLike}</span>
          ${candidates.map(
            (one) =>
              html`<button
                type="button"
                class="keys-guess"
                aria-pressed=${one.id === this.#provider ? "true" : "false"}
                @click=${() => this.#choose(one.id, true)}
              >
                ${one.label}
              </button>`,
          )}
        </p>`
      : nothing}
    ${field({
      id: "provider",
      label: t.provider,
      error: this.#faultOf("provider"),
      hint: provider?.get_key_url
        ? html`<a href=${provider.get_key_url} target="_blank" rel="noopener noreferrer">${t.openPage(provider.label)}</a>`
        : nothing,
      control: (id, describedBy) => html`<select
        id=${id}
        aria-describedby=${describedBy}
        @change=${(event: Event) => this.#choose(valueOf(event), true)}
      >
        <option value="" ?selected=${!this.#provider}>${t.choose}</option>
        ${this.at.store.providers
          .filter((one) => one.allowed)
          .map((one) => html`<option value=${one.id} ?selected=${one.id === this.#provider}>${one.label}</option>`)}
      </select>`,
    })}`;
  }

  #advanced(provider: Provider | undefined): TemplateResult {
    const t = keys[this.at.language];
    return html`<details class="keys-advanced">
      <summary>${provider?.custom_base_url ? t.advancedAddress : t.advanced}</summary>
      <div class="stack">
        ${field({
          id: "label",
          label: t.label,
          hint: t.labelHint,
          error: this.#faultOf("label"),
          control: (id, describedBy) => html`<input
            id=${id}
            aria-describedby=${describedBy}
            maxlength="80"
            autocomplete="off"
            .value=${this.#label}
            @input=${(event: Event) => (this.#label = valueOf(event))}
          />`,
        })}
        ${expiryField(
          t,
          this.at.format,
          this.#expiry,
          null,
          (expiry) => {
            this.#expiry = expiry;
            this.at.requestUpdate();
          },
          this.#faultOf("expires_at"),
        )}
        ${provider?.custom_base_url
          ? field({
              id: "base-url",
              label: t.baseUrl,
              hint: t.baseUrlHint,
              error: this.#faultOf("base_url"),
              control: (id, describedBy) => html`<input
                id=${id}
                type="url"
                aria-describedby=${describedBy}
                placeholder="https://"
                autocomplete="off"
                .value=${this.#baseUrl}
                @input=${(event: Event) => (this.#baseUrl = valueOf(event))}
              />`,
            })
          : nothing}
      </div>
    </details>`;
  }

  #outcome(provider: Provider | undefined): TemplateResult {
    const result = this.#result;
    const all = words[this.at.language].outcome as Record<string, string>;
    const general = this.#fault?.field === "" ? this.#fault.text : null;
    return html`<div role="status" class="keys-outcome">
      ${result
        ? html`${pill(all[result.outcome] ?? result.outcome, TONES[result.outcome] ?? "bad")}
            ${result.outcome === "no_credit" && provider?.get_key_url
              ? html`<a href=${provider.get_key_url} target="_blank" rel="noopener noreferrer">${provider.label}</a>`
              : nothing}`
        : nothing}
      ${general ? html`<p class="fault">${icon("alert")}${general}</p>` : nothing}
    </div>`;
  }

  #typed(text: string): void {
    // What people copy brings spaces, line breaks and quotation marks along.
    const bare = text.trim().replace(/^["'`]+|["'`]+$/g, "");
    // And what stands before them in examples.
    this.#secret = bare.replace(/^(authorization:\s*)?bearer\s+/i, "");
    this.#result = null;
    this.#fault = null;
    if (!this.#chosen) {
      const guess = guessProviders(this.#secret, this.at.store.providers)[0];
      if (guess) this.#choose(guess.id, false);
    }
    this.at.requestUpdate();
  }

  #choose(provider: string, byHand: boolean): void {
    this.#provider = provider;
    this.#chosen = byHand && Boolean(provider);
    this.#fields = {};
    this.#result = null;
    this.#fault = null;
    this.at.requestUpdate();
  }

  async #testAndSave(): Promise<void> {
    const t = keys[this.at.language];
    const provider = this.at.store.provider(this.#provider);
    if (!this.#secret && (provider?.needs_key ?? true)) return this.#refuse("secret", t.missingKey);
    if (!provider) return this.#refuse("provider", t.missingProvider);
    if (lacksDay(this.#expiry)) return this.#refuse("expires_at", t.expiryMissing);
    await this.#work(async () => {
      this.#result = await this.at.api.post("/api/credentials/test", {
        provider: this.#provider,
        secret: this.#secret,
        fields: this.#fields,
        base_url: this.#baseUrl || null,
      });
      if (SAVED_AT_ONCE.has(this.#result.outcome)) await this.#store();
    });
  }

  async #save(): Promise<void> {
    await this.#work(() => this.#store());
  }

  async #store(): Promise<void> {
    const { store } = this.at;
    const isNew = !store.keysOf(this.#provider).length;
    const common = { secret: this.#secret, fields: this.#fields };
    const kept = this.replaced
      ? await store.change("credentials", "post", "/api/credentials/{credential_id}/replace", {
          path: { credential_id: this.replaced.id },
          body: common,
        })
      : await store.change("credentials", "post", "/api/credentials", {
          body: {
            ...common,
            provider: this.#provider,
            label: this.#label,
            base_url: this.#baseUrl || null,
            expires_at: momentOf(this.#expiry, null, this.at.format),
          },
        });
    const label = store.label(this.#provider);
    const where = isNew ? await this.#putLast() : "";
    if (this.#result && this.#result.outcome !== "unreachable") {
      // So that the stored key shows what was just found. Should it fail, the first request finds out.
      await this.at.api
        .post("/api/credentials/{credential_id}/test", undefined, { path: { credential_id: kept.id } })
        .then(() => store.loadCredentials())
        .catch(() => undefined);
    }
    this.onStored(kept.id, this.#result);
    this.#close(true);
    const found = this.#result?.outcome === "works" ? ` ${foundByTest(this.at, this.#result)}` : "";
    this.at.notices.done([keys[this.at.language].stored(label) + found, where].filter(Boolean).join(" "));
  }

  /** A provider that is new stands behind those whose order the person knows; says where it is. */
  async #putLast(): Promise<string> {
    const t = keys[this.at.language];
    const { store } = this.at;
    const id = this.#provider;
    const known = store.preferences.some((one) => one.provider === id);
    if (!known && !store.isLocked("preferences")) {
      const wished = (): Preference[] => wishesOf(store, place(readLanes(store), id, "first", Infinity));
      // Should it fail, the sentence says where the provider is instead.
      if (readLanes(store).first.at(-1) !== id) {
        await store.change("preferences", "put", "/api/preferences", () => ({ body: wished() })).catch(() => undefined);
      }
    }
    const lanes = readLanes(store);
    const { lane, index } = locate(lanes, id);
    return lanes.first.length + lanes.backup.length > 1 ? t.storedAt(index + 1, lanes[lane].length, t.lanes[lane]) : "";
  }

  async #work(task: () => Promise<void>): Promise<void> {
    this.#busy = true;
    this.#fault = null;
    this.at.requestUpdate();
    try {
      await task();
    } catch (error) {
      const names = error instanceof ApiError ? error.fields.map((one) => one.field.split(".").pop()!) : [];
      const known = ["secret", "provider", "label", "expires_at", "base_url", ...Object.keys(this.#fields)];
      const secretCodes = ["duplicate_secret", "invalid_secret"];
      // That it works says nothing to somebody who cannot save it.
      if (error instanceof ApiError && secretCodes.includes(error.code)) this.#result = null;
      const spot =
        names.find((one) => known.includes(one)) ??
        (error instanceof ApiError && secretCodes.includes(error.code) ? "secret" : "");
      this.#refuse(spot, explain(error, this.at.language));
    } finally {
      this.#busy = false;
      this.at.requestUpdate();
    }
  }

  #refuse(spot: string, text: string): void {
    this.#fault = { field: spot, text };
    this.at.requestUpdate();
  }

  #faultOf(spot: string): string | null {
    return this.#fault?.field === spot ? this.#fault.text : null;
  }

  #close(saved: boolean): void {
    this.#secret = "";
    this.onClose(saved);
  }
}

/** The providers whose keys begin like this one, the most exact first. A hint, never a rule. */
export function guessProviders(secret: string, providers: readonly Provider[]): readonly Provider[] {
  const matches = providers
    .filter((one) => one.allowed)
    .map((provider) => ({
      provider,
      length: Math.max(0, ...provider.key_prefixes.filter((one) => one && secret.startsWith(one)).map((one) => one.length)),
    }))
    .filter((one) => one.length > 0);
  const longest = Math.max(0, ...matches.map((one) => one.length));
  return matches.filter((one) => one.length === longest).map((one) => one.provider);
}

function valueOf(event: Event): string {
  return (event.target as HTMLInputElement).value;
}
