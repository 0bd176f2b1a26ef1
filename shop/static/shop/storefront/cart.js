/**
 * The buyer's cart on the server. The client stores and sends no cart id.
 *
 * @typedef {{id: number, product_id: number, variant_id: number, sku: string, name: string,
 *   quantity: number, unit_price_paise: number, line_total_paise: number, available: number,
 *   problem: string | null}} CartItem
 * @typedef {{id: number | null, version: number, currency: string, items_count: number,
 *   units_count: number, total_price: number, total_paise: number, items: CartItem[]}} Cart
 * @typedef {import("./checkout.js").Address} Address
 * @typedef {import("./checkout.js").Checkout} Checkout
 * @typedef {import("./session.js").Session} Session
 */

import { startCheckout } from "./checkout.js";
import { StorefrontError, here, ignoreShopError } from "./session.js";

const CART_FRESH_MS = 30_000;

/** @type {Cart} */
const EMPTY_CART = Object.freeze({
  id: null,
  version: 0,
  currency: "INR",
  items_count: 0,
  units_count: 0,
  total_price: 0,
  total_paise: 0,
  items: [],
});

/** @type {WeakMap<Session, CartManager>} */
const managers = new WeakMap();

/** The buyer's cart. Fires `change` with the cart as `detail`, also for changes in other tabs. */
export class CartManager extends EventTarget {
  /** @type {{cart: Cart, at: number, owner: string | undefined} | null} */
  #kept = null;
  #session;

  /** The one cart manager of a session. */
  static of(session = here()) {
    if (!managers.has(session)) managers.set(session, new CartManager(session));
    return /** @type {CartManager} */ (managers.get(session));
  }

  constructor(session = here()) {
    super();
    this.#session = session;
    session.parts.channel?.addEventListener("message", ({ data }) => this.#onMessage(data));
  }

  /** The cart that this page showed last, or null. */
  get shown() {
    return this.#kept && this.#kept.owner === this.#owner ? this.#kept.cart : null;
  }

  /**
   * The cart: a copy up to 30 seconds old, unless `forceRefresh`, or revalidated by its ETag.
   *
   * @returns {Promise<Cart>}
   */
  async getCart(forceRefresh = false) {
    if (!this.#session.isKnown) return this.#keep(EMPTY_CART);
    const { shown } = this;
    const age = this.#session.parts.now() - (this.#kept?.at ?? 0);
    if (shown && !forceRefresh && age < CART_FRESH_MS) return shown;
    const headers = shown && { "If-None-Match": `"${shown.version}"` };
    const reply = await this.#session.request("GET", "cart/", { headers: headers ?? {} });
    return this.#keep(reply.status === 304 && shown ? shown : reply.content);
  }

  /** Add units. A buyer without an account becomes a guest. A repeat adds again.
   *  @param {number} productId @param {number | null} variantId */
  async addItem(productId, variantId, quantity = 1) {
    await this.#session.ensureBuyer();
    const body = { product_id: productId, variant_id: variantId, quantity };
    const reply = await this.#session.request("POST", "cart/add/", { body });
    return this.#changed(reply.content.cart);
  }

  /** @param {number} itemId @param {number} quantity zero removes the line */
  async setQuantity(itemId, quantity) {
    if (quantity <= 0) return this.removeItem(itemId);
    const reply = await this.#session.request("PATCH", `cart/items/${itemId}/`, { body: { quantity } });
    return this.#changed(reply.content);
  }

  /** @param {number} itemId */
  async removeItem(itemId) {
    return this.#changed((await this.#session.request("DELETE", `cart/items/${itemId}/`)).content);
  }

  async clear() {
    return this.#changed((await this.#session.request("DELETE", "cart/")).content);
  }

  /**
   * Post the cart that this page shows. Orders nothing if the server's cart differs.
   *
   * @param {Address} shippingAddress @param {Address | null} [billingAddress]
   * @returns {Promise<Checkout>}
   * @throws {StorefrontError} `cart_changed` with the server's cart in `details.cart`; `cart_empty`
   */
  async checkout(shippingAddress, billingAddress = null) {
    const { shown } = this;
    const cart = await this.getCart(true);
    if (!cart.items.length) {
      const message = "Your cart is empty. Please add something first.";
      throw new StorefrontError({ code: "cart_empty", message, details: { cart } });
    }
    if (shown && shown.version !== cart.version) {
      const message = "Your cart has changed. Please check it and order again.";
      throw new StorefrontError({ code: "cart_changed", message, details: { cart } });
    }
    return startCheckout({ shippingAddress, billingAddress, cart }, this.#session);
  }

  forget() {
    this.#kept = null;
  }

  get #owner() {
    return this.#session.tokens?.refresh;
  }

  /** @param {Cart} cart */
  #keep(cart) {
    const { shown } = this;
    if (shown && shown.id === cart.id && shown.version > cart.version) return shown; // a newer response came first
    const isNew = shown?.version !== cart.version;
    this.#kept = { cart, at: this.#session.parts.now(), owner: this.#owner };
    if (isNew) this.dispatchEvent(new CustomEvent("change", { detail: cart }));
    return cart;
  }

  /** @param {Cart} cart */
  #changed(cart) {
    this.#session.parts.channel?.postMessage({ type: "cart", version: cart.version });
    return this.#keep(cart);
  }

  /** @param {{type: string, version?: number}} message from another tab */
  #onMessage({ type, version }) {
    if (type === "cart" && version === this.shown?.version) return;
    this.getCart(true).catch(ignoreShopError); // offline: the next fetch updates it
  }
}
