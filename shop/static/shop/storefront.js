/**
 * A client for Pakka's API: the cart, the checkout and the payment, from any page.
 *
 *   import { CartManager, processCheckout, watchCheckout, pay } from "/static/shop/storefront.js";
 *
 *   const cart = CartManager.of();
 *   await cart.addItem(productId, variantId);
 *   const { id } = await processCheckout(address);
 *   watchCheckout(id, (checkout) => show(checkout));
 *   await pay(checkout); // once its status is awaiting_payment
 *
 * The server's cart is the valid one: the copy here is at most 30 seconds old, and is fetched again
 * before a checkout. Every failure is a `StorefrontError` with a sentence for the buyer. The last
 * argument of every function is the session, by default that of the browser; tests pass their own.
 */

export { CartManager } from "./storefront/cart.js";
export { cancelCheckout, startCheckout, watchCheckout } from "./storefront/checkout.js";
export { pay } from "./storefront/payment.js";
export {
  getUserActiveCart,
  handleCartError,
  processCheckout,
  recoverCartSync,
} from "./storefront/recovery.js";
export { Session, StorefrontError, here } from "./storefront/session.js";
