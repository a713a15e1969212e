/** The order in which the person's providers are tried, as two lanes that can be sorted. */
import type { Credential, Hop, Preference, Store } from "../core/store.js";

export type Lane = "first" | "backup";
export const LANES: readonly Lane[] = ["first", "backup"];

export type Lanes = Record<Lane, readonly string[]>;

const STEP = 10;

/** The providers at which the person has keys, by their wishes. */
export function readLanes(store: Store): Lanes {
  const held = [...new Set(store.credentials.map((one) => one.provider))];
  const rank = new Map(store.providers.map((one, index) => [one.id, index]));
  const sorted = held
    .map((id) => ({ id, wish: store.preference(id) }))
    .sort((a, b) => a.wish.priority - b.wish.priority || (rank.get(a.id) ?? 999) - (rank.get(b.id) ?? 999));
  return {
    first: sorted.filter((one) => !one.wish.backup_only).map((one) => one.id),
    backup: sorted.filter((one) => one.wish.backup_only).map((one) => one.id),
  };
}

/**
 * Who answers while a key is left out of the chain: the first hop that stands behind it, or null. Undefined where it is
 * not left out, or nobody knows.
 */
export function findNext(store: Store, key: Credential): Hop | null | undefined {
  if (!store.chain || store.chain.attempts.some((hop) => hop.credential?.id === key.id)) return undefined;
  const lanes = readLanes(store);
  const order = [...lanes.first, ...lanes.backup];
  const place = order.indexOf(key.provider);
  const behind = (hop: Hop): boolean =>
    hop.payer === "shared" || hop.provider === key.provider || order.indexOf(hop.provider) > place;
  return store.chain.attempts.find(behind) ?? null;
}

/** The lanes with one provider elsewhere. `index` counts the places of the others. */
export function place(lanes: Lanes, id: string, lane: Lane, index: number): Lanes {
  const without = Object.fromEntries(
    LANES.map((one) => [one, lanes[one].filter((other) => other !== id)]),
  ) as unknown as Record<Lane, string[]>;
  const at = Math.max(0, Math.min(index, without[lane].length));
  without[lane].splice(at, 0, id);
  return without;
}

/** Where a provider stands. */
export function locate(lanes: Lanes, id: string): { lane: Lane; index: number } {
  const lane = lanes.backup.includes(id) ? "backup" : "first";
  return { lane, index: lanes[lane].indexOf(id) };
}

/** One step up or down, across the border between the lanes. */
export function step(lanes: Lanes, id: string, by: 1 | -1): Lanes {
  const { lane, index } = locate(lanes, id);
  const next = index + by;
  if (next >= 0 && next < lanes[lane].length) return place(lanes, id, lane, next);
  if (by > 0 && lane === "first") return place(lanes, id, "backup", 0);
  if (by < 0 && lane === "backup") return place(lanes, id, "first", lanes.first.length);
  return lanes;
}

/** The wishes that say the same as the lanes; those that already do are left out. */
export function wishesOf(store: Store, lanes: Lanes): Preference[] {
  const ids = LANES.flatMap((lane) => lanes[lane].map((id) => ({ id, backup: lane === "backup" })));
  return ids
    .map(({ id, backup }, index) => ({ ...store.preference(id), priority: (index + 1) * STEP, backup_only: backup }))
    .filter((one) => {
      const now = store.preference(one.provider);
      return now.priority !== one.priority || now.backup_only !== one.backup_only;
    });
}
