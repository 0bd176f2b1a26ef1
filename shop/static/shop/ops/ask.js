/** One question to the shop. */

const PATIENCE_MS = 20_000;

/** The shop wants to know who we are first. */
export class SignedOut extends Error {}

/**
 * @param {string} url @param {typeof globalThis.fetch} fetch
 * @returns {Promise<any>}
 * @throws {SignedOut} the session ended
 * @throws {Error} with a sentence to show
 */
export async function ask(url, fetch) {
  let response;
  try {
    response = await fetch(url, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Error("The shop does not answer.");
  }
  if (response.status === 401 || response.status === 403) throw new SignedOut("You are signed out.");
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error ?? `The shop answers ${response.status}.`);
  return content;
}
