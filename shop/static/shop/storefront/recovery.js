/**
 * Recovery when the page's copy of the cart differs from the server's cart.
 *
 * @typedef {import("./checkout.js").Address} Address
 * @typedef {import("./checkout.js").Checkout} Checkout
 * @typedef {import("./cart.js").Cart} Cart
 */

import { CartManager } from "./cart.js";
import { StorefrontError, here } from "./session.js";

const RECOVERY_PAUSE_MS = 60_000;
const RECOVERED_AT = "pakka.recoveredAt";
// Keys of older storefronts.
const OLD_KEYS = ["cartId", "cart_id", "cartData", "cart_data", "cartItems"];
const CART_ERRORS = new Set(["cart_empty", "cart_not_found", "cart_changed"]);

/** The cart as the server has it now. */
export const getUserActiveCart = (session = here()) => CartManager.of(session).getCart(true);

/**
 * Post the cart. After an error about the cart, fetch the cart again, and rethrow the error.
 *
 * @param {Address} shippingAddress @param {Address | null} [billingAddress]
 * @returns {Promise<Checkout>}
 */
export async function processCheckout(shippingAddress, billingAddress = null, session = here()) {
  try {
    return await CartManager.of(session).checkout(shippingAddress, billingAddress);
  } catch (error) {
    await handleCartError(error, session);
    throw error; // no automatic second POST: the buyer has not seen the new total
  }
}

/**
 * Delete every copy of the cart, also those of older storefronts, fetch the cart, and report it.
 *
 * @param {string} kind the error, for operations
 */
export async function recoverCartSync(kind = "stale_copy", session = here()) {
  const seen = CartManager.of(session).shown;
  for (const key of OLD_KEYS) session.parts.storage.removeItem(key);
  CartManager.of(session).forget();
  const cart = await CartManager.of(session).getCart(true);
  if (session.isKnown) {
    const body = { kind, cart_version: seen?.version ?? null, detail: `now ${cart.version}` };
    await session.request("POST", "cart/sync-events/", { body }).catch(() => {}); // the report is optional
  }
  return cart;
}

/**
 * Recover from an error about the cart, at most once a minute, and without reloading the page.
 *
 * @param {unknown} error
 * @returns {Promise<Cart | null>} the server's cart; null for another error, or within that minute
 */
export async function handleCartError(error, session = here()) {
  const { storage, now } = session.parts;
  if (!(error instanceof StorefrontError) || !CART_ERRORS.has(error.code)) return null;
  if (now() - Number(storage.getItem(RECOVERED_AT)) < RECOVERY_PAUSE_MS) return null;
  storage.setItem(RECOVERED_AT, String(now()));
  return recoverCartSync(error.code, session);
}
