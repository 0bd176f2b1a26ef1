/**
 * What to do when this page's cart is not the server's.
 *
 * @typedef {import("./checkout.js").Address} Address
 * @typedef {import("./checkout.js").Checkout} Checkout
 * @typedef {import("./cart.js").Cart} Cart
 */

import { CartManager } from "./cart.js";
import { StorefrontError, here } from "./session.js";

const RECOVERY_PAUSE_MS = 60_000;
const RECOVERED_AT = "pakka.recoveredAt";
const LEFT_BY_OLDER_STOREFRONTS = ["cartId", "cart_id", "cartData", "cart_data", "cartItems"];
const CART_ERRORS = new Set(["cart_empty", "cart_not_found", "cart_changed"]);

/** The cart as the server has it now. */
export const getUserActiveCart = (session = here()) => CartManager.of(session).getCart(true);

/**
 * Post the cart; a cart error is recovered from, once, and then told.
 *
 * @param {Address} shippingAddress @param {Address | null} [billingAddress]
 * @returns {Promise<Checkout>}
 */
export async function processCheckout(shippingAddress, billingAddress = null, session = here()) {
  try {
    return await CartManager.of(session).checkout(shippingAddress, billingAddress);
  } catch (error) {
    await handleCartError(error, session);
    throw error; // never posted again unasked: the buyer has not seen the new total
  }
}

/**
 * Forget every copy of the cart, older storefronts' too, fetch it anew and report that.
 *
 * @param {string} kind what went wrong, for operations
 */
export async function recoverCartSync(kind = "stale_copy", session = here()) {
  const seen = CartManager.of(session).shown;
  for (const key of LEFT_BY_OLDER_STOREFRONTS) session.parts.storage.removeItem(key);
  CartManager.of(session).forget();
  const cart = await CartManager.of(session).getCart(true);
  if (session.isKnown) {
    const body = { kind, cart_version: seen?.version ?? null, detail: `now ${cart.version}` };
    await session.request("POST", "cart/sync-events/", { body }).catch(() => {}); // a courtesy
  }
  return cart;
}

/**
 * Recover from an error about the cart, at most once a minute, and without reloading the page.
 *
 * @param {unknown} error
 * @returns {Promise<Cart | null>} the true cart; null: not a cart error, or recovered just now
 */
export async function handleCartError(error, session = here()) {
  const { storage, now } = session.parts;
  if (!(error instanceof StorefrontError) || !CART_ERRORS.has(error.code)) return null;
  if (now() - Number(storage.getItem(RECOVERED_AT)) < RECOVERY_PAUSE_MS) return null;
  storage.setItem(RECOVERED_AT, String(now()));
  return recoverCartSync(error.code, session);
}
