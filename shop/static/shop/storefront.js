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
 * The server holds the truth: a cart is at most 30 seconds old here, and asked for anew before a
 * checkout. Whatever fails is a `StorefrontError` with a sentence for the buyer. Every function
 * takes the session last, by default the browser's; tests make one of their own parts.
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
