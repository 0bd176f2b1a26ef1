/**
 * Look again and again, for as long as somebody is watching.
 *
 * @typedef {{visibilityState: string, addEventListener: (type: string, listener: () => void) => void}} Page
 * @typedef {{page: Page, setTimeout: (work: () => void, ms: number) => any,
 *   clearTimeout: (timer: any) => void, now: () => number}} Parts
 */

export const EVERY_MS = 5_000;

/**
 * Show what `look` finds, now and every `EVERY_MS` after an answer; not while the page is hidden,
 * and at once when it is seen again. One look at a time.
 *
 * `trouble` hears of every look that fails, with when the last one succeeded (null: none did), and
 * of null once one succeeds again.
 *
 * @template Found
 * @param {{look: () => Promise<Found>, show: (found: Found) => void,
 *   trouble: (error: Error | null, sinceMs: number | null) => void}} watcher
 * @param {Parts} parts
 * @returns {{again: () => Promise<void>}} `again` looks at once: what is asked for has changed
 */
export function follow({ look, show, trouble }, parts) {
  /** @type {number | null} */
  let shownAt = null;
  let asked = 0;
  /** @type {any} */
  let timer = null;

  async function again() {
    asked += 1;
    const mine = asked;
    parts.clearTimeout(timer);
    try {
      const found = await look();
      if (mine !== asked) return; // a newer look is under way
      shownAt = parts.now();
      show(found);
      trouble(null, shownAt);
    } catch (error) {
      if (mine !== asked) return;
      trouble(/** @type {Error} */ (error), shownAt);
    }
    plan();
  }

  function plan() {
    parts.clearTimeout(timer);
    if (parts.page.visibilityState !== "hidden") timer = parts.setTimeout(again, EVERY_MS);
  }

  parts.page.addEventListener("visibilitychange", () => {
    if (parts.page.visibilityState === "hidden") parts.clearTimeout(timer);
    else again();
  });
  return { again };
}
