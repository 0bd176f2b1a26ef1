/**
 * A checkout: posted once, followed until it ends.
 *
 * @typedef {{name: string, line1: string, line2?: string, city: string, state: string,
 *   postal_code: string, country?: string, phone: string}} Address
 * @typedef {Record<string, any> & {id: string, status: string, message: string,
 *   poll: {after_ms: number, done: boolean}, payment: Record<string, any> | null}} Checkout
 * @typedef {{done: Promise<Checkout | null>, look: () => void, stop: () => void}} Watch
 *   `done` gives the checkout that ended, or null after `stop`; `look` asks at once
 * @typedef {import("./session.js").Session} Session
 */

import {
  CHECKOUT_KEY,
  FIRST_BACKOFF_MS,
  StorefrontError,
  here,
  insistently,
  readJson,
  retryAfterMs,
} from "./session.js";

const KEY_LIFE_MS = 12 * 60 * 60 * 1000; // the server keeps a key for 24 hours at least
const MAX_BACKOFF_MS = 30_000;
const JITTER = 0.2; // never faster than the server's pace, up to a fifth slower
const ENDED_UNPAID = new Set(["failed", "cancelled", "expired", "refunded"]);

/**
 * Post the cart. However often this is called or its answer lost, one cart gives one checkout: the
 * Idempotency-Key is made and stored before the request.
 *
 * @param {{shippingAddress: Address, billingAddress?: Address | null,
 *   cart: {version: number, total_paise: number}}} order the cart as the buyer sees it
 * @returns {Promise<Checkout>}
 * @throws {StorefrontError}
 */
export async function startCheckout({ shippingAddress, billingAddress, cart }, session = here()) {
  const body = {
    payment_method: "razorpay",
    currency: "INR",
    shipping_address: shippingAddress,
    ...(billingAddress && { billing_address: billingAddress }),
    cart_version: cart.version,
    expected_total_paise: cart.total_paise,
  };
  const reply = await post(body, session);
  const isOver = ENDED_UNPAID.has(reply.content.status);
  if (!isOver || reply.headers.get("Idempotent-Replayed") !== "true") return reply.content;
  session.parts.storage.removeItem(CHECKOUT_KEY); // an earlier try, which ended: this is a new one
  return (await post(body, session)).content;
}

/** @param {object} body @param {Session} session */
async function post(body, session) {
  const headers = { "Idempotency-Key": keyFor(JSON.stringify(body), session) };
  try {
    const ask = () => session.request("POST", "payments/create-from-cart/", { body, headers });
    return await insistently(ask, session);
  } catch (error) {
    // A refusal leaves nothing behind. Without an answer it may have worked: keep the key.
    const isRefused = error instanceof StorefrontError && !error.retryable;
    if (isRefused) session.parts.storage.removeItem(CHECKOUT_KEY);
    throw error;
  }
}

/** The key of this very request: the stored one, until its checkout has ended.
 *  @param {string} request @param {Session} session @returns {string} */
function keyFor(request, { parts: { storage, now } }) {
  const print = fingerprint(request);
  const kept = readJson(storage, CHECKOUT_KEY);
  if (kept?.print === print && now() - kept.at < KEY_LIFE_MS) return kept.key;
  // Not randomUUID: that is missing where the shop is tried over plain http.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  storage.setItem(CHECKOUT_KEY, JSON.stringify({ key, print, at: now() }));
  return key;
}

/** FNV-1a, so that no address lies in storage. Equal for two requests by bad luck: the server says
 *  422, and the next try has a new key. @param {string} text */
function fingerprint(text) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return `${(hash >>> 0).toString(16)}.${text.length}`;
}

/**
 * End an unpaid checkout. A repeat changes nothing.
 *
 * @param {string} id
 * @returns {Promise<Checkout>}
 * @throws {StorefrontError} `cannot_cancel` once money is known
 */
export async function cancelCheckout(id, session = here()) {
  return (await session.request("POST", `checkouts/${id}/cancel/`)).content;
}

/**
 * Follow a checkout at the server's pace, until it is final. After a reload, watch it again.
 *
 * Asks at once when the page is looked at again or the network is back. A look that fails is not a
 * checkout that failed: `onTrouble` hears of it, then of null when looks succeed again.
 *
 * @param {string} id
 * @param {(checkout: Checkout) => void} onChange called first with what is found first
 * @param {{onTrouble?: (error: StorefrontError | null) => void}} [options]
 * @returns {Watch} `done` is rejected when asking again cannot help (404, signed out)
 */
export function watchCheckout(id, onChange, { onTrouble = () => {} } = {}, session = here()) {
  const { page, network, random, setTimeout, clearTimeout } = session.parts;
  let stopped = false;
  let nudged = false;
  let wakeUp = () => {};
  const look = () => {
    nudged = true;
    wakeUp();
  };
  const seen = () => page.visibilityState !== "hidden" && look();
  page.addEventListener("visibilitychange", seen);
  network.addEventListener("online", look);

  /** @param {number} ms */
  const sleep = (ms) =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), ms * (1 + JITTER * random()));
      wakeUp = () => {
        clearTimeout(timer);
        resolve(null);
      };
    });

  const follow = async () => {
    const looks = looker(id, session);
    let failures = 0;
    while (!stopped) {
      let pauseMs;
      try {
        const found = await looks();
        if (stopped) break;
        if (failures) onTrouble(null);
        failures = 0;
        if (found.checkout) onChange(found.checkout);
        if (found.checkout?.poll.done) return found.checkout;
        pauseMs = found.pauseMs;
      } catch (error) {
        if (!(error instanceof StorefrontError) || !error.retryable) throw error;
        onTrouble(error);
        const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** failures, MAX_BACKOFF_MS);
        pauseMs = Math.max(error.retryAfterMs, backoffMs);
        failures += 1;
      }
      if (!nudged) await sleep(pauseMs);
      nudged = false;
    }
    return null;
  };

  const stop = () => {
    stopped = true;
    look();
    page.removeEventListener("visibilitychange", seen);
    network.removeEventListener("online", look);
  };
  const done = follow().finally(stop);
  return { done, look, stop };
}

/**
 * Looks at one checkout, each time with the tag of the look before. An unchanged one has no body
 * to set the pace: the pauses double, up to the `Retry-After` of the answer.
 *
 * @param {string} id @param {Session} session
 * @returns {() => Promise<{checkout: Checkout | null, pauseMs: number}>}
 */
function looker(id, session) {
  let tag = "";
  let pauseMs = 0;
  return async () => {
    const headers = tag ? { "If-None-Match": tag } : undefined;
    const reply = await session.request("GET", `checkouts/${id}/`, { headers });
    if (reply.status === 304) {
      pauseMs = Math.max(pauseMs, Math.min(pauseMs * 2, retryAfterMs(reply.headers)));
      return { checkout: null, pauseMs };
    }
    tag = reply.headers.get("ETag") ?? "";
    pauseMs = reply.content.poll.after_ms;
    if (reply.content.poll.done) session.parts.storage.removeItem(CHECKOUT_KEY);
    return { checkout: reply.content, pauseMs };
  };
}
