/**
 * Fetching the figures, again and again while the page is visible.
 *
 * @typedef {{visibilityState: string, addEventListener: (type: string, listener: () => void) => void}} Page
 * @typedef {{page: Page, setTimeout: (work: () => void, ms: number) => any,
 *   clearTimeout: (timer: any) => void, now: () => number}} Browser
 */

export const EVERY_MS = 5_000;
const TIMEOUT_MS = 20_000;

/** The session has ended. */
export class SignedOut extends Error {}

/**
 * @param {string} url @param {typeof globalThis.fetch} fetch
 * @returns {Promise<any>}
 * @throws {SignedOut} the session has ended
 * @throws {Error} any other failure, with a sentence to show
 */
export async function fetchFigures(url, fetch) {
  let response;
  try {
    response = await fetch(url, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Error("The shop does not answer.");
  }
  if (response.status === 401 || response.status === 403) throw new SignedOut("You are signed out.");
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error ?? `The shop answers ${response.status}.`);
  return content;
}

/**
 * Load and show now, and again `EVERY_MS` after each answer. Pauses while the page is hidden; loads
 * at once when it becomes visible. Only the answer to the latest load is shown.
 *
 * `onError` gets the error of each failed load with the time of the last successful one (null: none
 * yet), and null after a successful load.
 *
 * @template Figures
 * @param {{load: () => Promise<Figures>, show: (figures: Figures) => void,
 *   onError: (error: Error | null, lastMs: number | null) => void}} actions
 * @param {Browser} browser
 * @returns {{refresh: () => Promise<void>}} `refresh` loads at once
 */
export function poll({ load, show, onError }, browser) {
  /** @type {number | null} */
  let lastMs = null;
  let loads = 0;
  /** @type {any} */
  let timer = null;

  async function refresh() {
    loads += 1;
    const mine = loads;
    browser.clearTimeout(timer);
    try {
      const figures = await load();
      if (mine !== loads) return; // a newer load has started
      lastMs = browser.now();
      show(figures);
      onError(null, lastMs);
    } catch (error) {
      if (mine !== loads) return;
      onError(/** @type {Error} */ (error), lastMs);
    }
    browser.clearTimeout(timer);
    if (browser.page.visibilityState !== "hidden") timer = browser.setTimeout(refresh, EVERY_MS);
  }

  browser.page.addEventListener("visibilitychange", () => {
    if (browser.page.visibilityState === "hidden") browser.clearTimeout(timer);
    else refresh();
  });
  return { refresh };
}
