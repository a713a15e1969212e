/** Sorting by pointer: the list itself shows where the dragged thing would land. Keys and menus do the same work. */

// Near the edges of the window the page scrolls along.
const EDGE = 32;

export interface Place {
  lane: string;
  index: number;
}

/**
 * Follows the pointer from a handle until it is let go.
 *
 * Items carry `data-item`, lanes `data-lane`. `over` is called with each new place, and `end` with true when the
 * thing was dropped, false when Escape or the browser cancelled.
 */
export function startSorting(
  event: PointerEvent,
  root: ShadowRoot | Document,
  item: string,
  over: (place: Place) => void,
  end: (dropped: boolean) => void,
): void {
  if (event.button !== 0) return;
  event.preventDefault();
  const move = (now: PointerEvent): void => {
    if (now.clientY < EDGE) scrollBy(0, -EDGE / 2);
    else if (now.clientY > innerHeight - EDGE) scrollBy(0, EDGE / 2);
    const target = root.elementFromPoint(now.clientX, now.clientY);
    const lane = target?.closest<HTMLElement>("[data-lane]");
    if (!lane) return;
    const others = [...lane.querySelectorAll<HTMLElement>("[data-item]")].filter((one) => one.dataset["item"] !== item);
    const index = others.findIndex((one) => {
      const box = one.getBoundingClientRect();
      return now.clientY < box.top + box.height / 2;
    });
    over({ lane: lane.dataset["lane"]!, index: index === -1 ? others.length : index });
  };
  const finish = (dropped: boolean): void => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", drop);
    removeEventListener("pointercancel", cancel);
    removeEventListener("keydown", key, true);
    end(dropped);
  };
  const drop = (): void => finish(true);
  const cancel = (): void => finish(false);
  const key = (now: KeyboardEvent): void => {
    if (now.key !== "Escape") return;
    now.preventDefault();
    finish(false);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", drop);
  addEventListener("pointercancel", cancel);
  addEventListener("keydown", key, true);
}
