/** Slips of the hand: which name was meant. */

/** The name that is a slip or two away, or null. */
export function nearest(typed: string, names: readonly string[]): string | null {
  const written = typed.toLowerCase();
  const ranked = names
    .map((name) => ({ name, slips: countSlips(written, name.toLowerCase()) }))
    .sort((a, b) => a.slips - b.slips);
  const [best] = ranked;
  return best && best.slips <= Math.max(1, Math.floor(typed.length / 3)) ? best.name : null;
}

/** How many letters have to be changed, added, left out or swapped with their neighbour (Damerau and Levenshtein). */
function countSlips(one: string, other: string): number {
  const rows = [Array.from({ length: other.length + 1 }, (_, index) => index)];
  for (let at = 1; at <= one.length; at++) {
    const row = [at];
    const before = rows[at - 1]!;
    for (let place = 1; place <= other.length; place++) {
      const same = one[at - 1] === other[place - 1];
      const swapped = at > 1 && place > 1 && one[at - 1] === other[place - 2] && one[at - 2] === other[place - 1];
      const least = Math.min(before[place]! + 1, row[place - 1]! + 1, before[place - 1]! + (same ? 0 : 1));
      row.push(swapped ? Math.min(least, rows[at - 2]![place - 2]! + 1) : least);
    }
    rows.push(row);
  }
  return rows.at(-1)!.at(-1)!;
}
