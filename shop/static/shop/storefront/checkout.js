/**
 * A checkout: post it once, then poll its status until it is final.
 *
 * @typedef {{name: string, line1: string, line2?: string, city: string, state: string,
 *   postal_code: string, country?: string, phone: string}} Address
 * @typedef {Record<string, any> & {id: string, status: string, message: string,
 *   poll: {after_ms: number, done: boolean}, payment: Record<string, any> | null}} Checkout
 * @typedef {{done: Promise<Checkout | null>, pollNow: () => void, stop: () => void}} Watch
 *   `done` resolves to the final checkout, or to null after `stop`
 * @typedef {import("./session.js").Session} Session
 */

import {
  CHECKOUT_KEY,
  FIRST_BACKOFF_MS,
  StorefrontError,
  here,
  withRetries,
  readJson,
  retryAfterMs,
} from "./session.js";

const KEY_LIFE_MS = 12 * 60 * 60 * 1000; // the server keeps a key for 24 hours at least
const MAX_BACKOFF_MS = 30_000;
const JITTER = 0.2; // never faster than the server's poll interval, up to a fifth slower
const ENDED_UNPAID = new Set(["failed", "cancelled", "expired", "refunded"]);

/**
 * Post the cart. Repeated calls and lost responses give one checkout per cart, because the
 * Idempotency-Key is stored before the request.
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
  session.parts.storage.removeItem(CHECKOUT_KEY); // that checkout had ended: start a new one
  return (await post(body, session)).content;
}

/** @param {object} body @param {Session} session */
async function post(body, session) {
  const headers = { "Idempotency-Key": keyFor(JSON.stringify(body), session) };
  try {
    const send = () => session.request("POST", "payments/create-from-cart/", { body, headers });
    return await withRetries(send, session);
  } catch (error) {
    // A refused POST leaves nothing behind. Without a response it may have worked: keep the key.
    const isRefused = error instanceof StorefrontError && !error.retryable;
    if (isRefused) session.parts.storage.removeItem(CHECKOUT_KEY);
    throw error;
  }
}

/** The key of this request: the stored one, until its checkout has ended.
 *  @param {string} request @param {Session} session @returns {string} */
function keyFor(request, { parts: { storage, now } }) {
  const print = fingerprint(request);
  const kept = readJson(storage, CHECKOUT_KEY);
  if (kept?.print === print && now() - kept.at < KEY_LIFE_MS) return kept.key;
  // Not randomUUID: browsers do not offer it over plain http.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  storage.setItem(CHECKOUT_KEY, JSON.stringify({ key, print, at: now() }));
  return key;
}

/** An FNV-1a hash, so that storage holds no address. After a collision the server responds 422, and
 *  the next try has a new key. @param {string} text */
function fingerprint(text) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return `${(hash >>> 0).toString(16)}.${text.length}`;
}

/**
 * Cancel an unpaid checkout. A repeat changes nothing.
 *
 * @param {string} id
 * @returns {Promise<Checkout>}
 * @throws {StorefrontError} `cannot_cancel` once a payment is known
 */
export async function cancelCheckout(id, session = here()) {
  return (await session.request("POST", `checkouts/${id}/cancel/`)).content;
}

/**
 * Poll a checkout at the server's interval until it is final. After a reload, watch it again.
 *
 * Polls at once when the page becomes visible or the network is back. When a poll fails, calls
 * `onTrouble` with the error, and with null when polls succeed again.
 *
 * @param {string} id
 * @param {(checkout: Checkout) => void} onChange called at the first poll and at each change
 * @param {{onTrouble?: (error: StorefrontError | null) => void}} [options]
 * @returns {Watch} `done` is rejected when polling again cannot help (404, signed out)
 */
export function watchCheckout(id, onChange, { onTrouble = () => {} } = {}, session = here()) {
  const { page, network, random, setTimeout, clearTimeout } = session.parts;
  let stopped = false;
  let mustPoll = false;
  let wakeUp = () => {};
  const pollNow = () => {
    mustPoll = true;
    wakeUp();
  };
  const onVisible = () => page.visibilityState !== "hidden" && pollNow();
  page.addEventListener("visibilitychange", onVisible);
  network.addEventListener("online", pollNow);

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
    const poll = poller(id, session);
    let failures = 0;
    while (!stopped) {
      let pauseMs;
      try {
        const found = await poll();
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
      if (!mustPoll) await sleep(pauseMs);
      mustPoll = false;
    }
    return null;
  };

  const stop = () => {
    stopped = true;
    pollNow();
    page.removeEventListener("visibilitychange", onVisible);
    network.removeEventListener("online", pollNow);
  };
  const done = follow().finally(stop);
  return { done, pollNow, stop };
}

/**
 * Returns a function that polls one checkout, with the ETag of the poll before. A 304 has no body
 * with an interval: then the pauses double, up to its `Retry-After`.
 *
 * @param {string} id @param {Session} session
 * @returns {() => Promise<{checkout: Checkout | null, pauseMs: number}>}
 */
function poller(id, session) {
  let etag = "";
  let pauseMs = 0;
  return async () => {
    const headers = etag ? { "If-None-Match": etag } : undefined;
    const reply = await session.request("GET", `checkouts/${id}/`, { headers });
    if (reply.status === 304) {
      pauseMs = Math.max(pauseMs, Math.min(pauseMs * 2, retryAfterMs(reply.headers)));
      return { checkout: null, pauseMs };
    }
    etag = reply.headers.get("ETag") ?? "";
    pauseMs = reply.content.poll.after_ms;
    if (reply.content.poll.done) session.parts.storage.removeItem(CHECKOUT_KEY);
    return { checkout: reply.content, pauseMs };
  };
}
