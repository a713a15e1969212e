/** One stored key: masked, with its state, what it did, and what can be done with it. */
import { html, nothing, type TemplateResult } from "lit";
import type { components } from "../api/schema.js";
import { describeHealth } from "../core/health.js";
import type { Credential } from "../core/store.js";
import { keys } from "../i18n/keys.js";
import { shell } from "../i18n/shell.js";
import { words } from "../i18n/words.js";
import { pill, type Tone } from "../parts/controls.js";
import { menu } from "../parts/menu.js";
import type { PanelSurroundings } from "../panel.js";
import { findNext } from "./key_order.js";

export type TestResult = components["schemas"]["TestOut"];

export interface KeyActions {
  first: boolean;
  only: boolean;
  busy: boolean;
  /** What was just found, if the key was tested on this page. */
  result: TestResult | undefined;
  test: () => void;
  replace: () => void;
  edit: () => void;
  enable: (on: boolean) => void;
  lead: () => void;
  /** Null where the administrators do not allow it. */
  reveal: (() => void) | null;
  remove: () => void;
}

const TONES: Record<string, Tone> = {
  ok: "good",
  unverified: "plain",
  limited: "warn",
  rate_limited: "warn",
  out_of_credit: "bad",
  invalid: "bad",
  expired: "bad",
  unreadable: "bad",
};

/** States in which requests do not take a key. */
const PASSED_OVER: ReadonlySet<string> = new Set(["rate_limited", "out_of_credit", "invalid", "expired", "unreadable"]);
/** States that another key ends. */
const REPLACED: ReadonlySet<string> = new Set(["invalid", "expired", "unreadable"]);

const DAY_MILLISECONDS = 86_400_000;
/** How long before its end a key is marked, and how long before it the mark is red. */
const WARN_DAYS = 7;
const ALARM_DAYS = 1;

/** A list item. */
export function drawKey(at: PanelSurroundings, key: Credential, act: KeyActions): TemplateResult {
  const t = keys[at.language];
  const { format, store } = at;
  const gone = !store.provider(key.provider);
  const name = `${store.label(key.provider)} · ${store.keyName(key)}`;
  const label = store.label(key.provider);
  const cure = gone ? null : describeHealth(key, label, at.language, () => at.requestUpdate());
  const passedOver = PASSED_OVER.has(key.status);
  return html`
    <li class="keys-key ${key.enabled ? "" : "off"}">
      <div class="grow">
        <p class="row">
          ${key.label ? html`<span class="keys-label" title=${key.label}>${key.label}</span>` : nothing}
          <code>${key.hint}</code> ${status(at, key, act)} ${expiry(at, key)}
        </p>
        <p class="muted small keys-facts">${facts(key).map((one) => html`<span>${one}</span>`)}</p>
        ${cure
          ? html`<p class="small keys-cure">
              ${cure} ${key.enabled && passedOver ? detour() : nothing}
              ${key.health.link
                ? html`<a href=${key.health.link} target="_blank" rel="noopener noreferrer">${pageName(key)}</a>`
                : nothing}
            </p>`
          : nothing}
      </div>
      ${!gone && REPLACED.has(key.status) ? html`<button @click=${act.replace}>${t.replace}</button>` : nothing}
      ${menu(`key-${key.id}`, shell[at.language].more(name), [
        gone ? null : { label: t.test, icon: "refresh", disabled: act.busy || !key.enabled, run: act.test },
        gone ? null : { label: t.replace, icon: "key", run: act.replace },
        { label: t.edit, icon: "edit", run: act.edit },
        act.only || act.first ? null : { label: t.first, icon: "up", run: act.lead },
        key.enabled
          ? { label: t.disable, icon: "close", run: () => act.enable(false) }
          : { label: t.enable, icon: "check", run: () => act.enable(true) },
        act.reveal && key.status !== "unreadable" ? { label: t.reveal, icon: "eye", run: act.reveal } : null,
        { label: t.remove, icon: "remove", danger: true, run: act.remove },
      ])}
    </li>
  `;

  function facts(one: Credential): string[] {
    const found = [one.last_used_at ? t.used(format.relative(one.last_used_at)) : t.unused];
    if (one.last_tested_at) found.push(t.tested(format.relative(one.last_tested_at)));
    found.push(t.addedOn(format.date(one.created_at)));
    if (one.requests_month) {
      found.push(t.monthly(format.number(one.requests_month), format.money(one.cost_microdollars_month)));
    }
    if (one.expires_at && daysLeft(one) > WARN_DAYS) found.push(t.expiresOn(format.relative(one.expires_at)));
    else if (one.expires_at && daysLeft(one) <= 0) found.push(t.expiredOn(format.relative(one.expires_at)));
    if (one.next_probe_at) found.push(t.nextProbe(format.relative(soonest(one.next_probe_at))));
    return found;
  }

  function pageName(one: Credential): string {
    const { code } = one.health;
    if (code === "out_of_credit" || code === "credit_unproved") return t.topUp(label);
    return code === "rate_limited" || code === "quota_daily" ? t.limits(label) : t.getKey(label);
  }

  /** Where requests go while this key is passed over. */
  function detour(): string {
    const next = findNext(store, key);
    if (next === undefined) return "";
    if (next === null) return t.nextNone;
    return t.next(store.label(next.provider), words[at.language].payer[next.payer as "own" | "shared"]);
  }
}

/** "Works · 63 models · 240 ms". */
export function foundByTest(at: PanelSurroundings, { model_count: models, duration_ms: time }: TestResult): string {
  return keys[at.language].works(models === null ? null : at.format.number(models), at.format.duration(time));
}

/** A time that has come is now: what is due is taken up within some seconds. */
function soonest(instant: string): string {
  return new Date(Math.max(Date.parse(instant), Date.now())).toISOString();
}

function daysLeft(key: Credential): number {
  return key.expires_at ? (new Date(key.expires_at).getTime() - Date.now()) / DAY_MILLISECONDS : Infinity;
}

/** A mark before a key's end; afterwards its state says it. */
function expiry(at: PanelSurroundings, key: Credential): TemplateResult | typeof nothing {
  const left = daysLeft(key);
  if (left <= 0 || left > WARN_DAYS) return nothing;
  return pill(keys[at.language].expiresOn(at.format.relative(key.expires_at)), left <= ALARM_DAYS ? "bad" : "warn");
}

function status(at: PanelSurroundings, key: Credential, { busy, result }: KeyActions): TemplateResult {
  const t = keys[at.language];
  if (busy) return pill(t.testing, "plain");
  if (!key.enabled) return pill(t.disabled, "plain");
  if (key.status === "ok" && result?.outcome === "works") return pill(foundByTest(at, result), "good");
  const all = words[at.language].status as Record<string, string>;
  const until = key.status === "rate_limited" && key.status_until ? ` ${t.until(at.format.time(key.status_until))}` : "";
  return pill((all[key.status] ?? key.status) + until, TONES[key.status] ?? "plain");
}
