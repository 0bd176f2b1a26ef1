/**
 * A client for Pakka's API: the cart, the checkout and the payment, from any page.
 *
 *   import { CartManager, processCheckout, watchCheckout, pay } from "/static/shop/storefront.js";
 *
 * The server holds the truth. Nothing here keeps a cart id; a cart is at most 30 seconds old and is
 * asked for anew before a checkout. Every function takes its shop last, by default the browser's.
 *
 * @typedef {{getItem(key: string): string | null, setItem(key: string, value: string): void,
 *   removeItem(key: string): void}} Keeper
 * @typedef {object} Parts what the module needs of its surroundings
 * @property {string} apiUrl ends with a slash
 * @property {Keeper} storage
 * @property {typeof fetch} fetch
 * @property {(work: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now in milliseconds
 * @property {() => number} random from 0 to 1
 * @property {{postMessage(message: any): void, addEventListener(type: "message",
 *   hear: (event: any) => void): void} | null} channel to the other tabs of this shop
 * @property {EventTarget & {visibilityState?: string}} page tells `visibilitychange`
 * @property {EventTarget} network tells `online`
 * @property {() => any} razorpay the constructor of checkout.js, once that has loaded
 *
 * @typedef {{access: string, refresh: string, email: string | null}} Tokens email: null for a guest
 * @typedef {{id: number, product_id: number, variant_id: number, sku: string, name: string,
 *   quantity: number, unit_price_paise: number, line_total_paise: number, available: number,
 *   problem: string | null}} CartItem
 * @typedef {{id: number | null, version: number, currency: string, items_count: number,
 *   units_count: number, total_price: number, total_paise: number, items: CartItem[]}} Cart
 * @typedef {{name: string, line1: string, line2?: string, city: string, state: string,
 *   postal_code: string, country?: string, phone: string}} Address
 * @typedef {Record<string, any> & {id: string, status: string, message: string,
 *   poll: {after_ms: number, done: boolean}, payment: Record<string, any> | null}} Checkout
 * @typedef {{status: number, headers: Headers, content: any}} Reply
 * @typedef {{code: string, message: string, reason: string}} PaymentFailure
 */

const CART_FRESH_MS = 30_000;
const REQUEST_TIMEOUT_MS = 20_000;
const KEY_LIFE_MS = 12 * 60 * 60 * 1000; // the server keeps a key for 24 hours at least
const RECOVERY_PAUSE_MS = 60_000;
const TRIES = 3;
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 30_000;
const JITTER = 0.2; // never faster than the server's pace, up to a fifth slower

const TOKENS = "pakka.tokens";
const CHECKOUT_KEY = "pakka.checkoutKey";
const RECOVERED_AT = "pakka.recoveredAt";
const LEFT_BY_OLDER_STOREFRONTS = ["cartId", "cart_id", "cartData", "cart_data", "cartItems"];

const CART_ERRORS = new Set(["cart_empty", "cart_not_found", "cart_changed"]);
const ENDED_UNPAID = new Set(["failed", "cancelled", "expired", "refunded"]);

/** @type {Cart} */
const EMPTY_CART = Object.freeze({
  id: null, version: 0, currency: "INR", items_count: 0, units_count: 0, total_price: 0,
  total_paise: 0, items: [],
}); // prettier-ignore

/** Something the buyer can be told. `retryable`: the very same request may work later. */
export class StorefrontError extends Error {
  /** @param {{code: string, message: string, details?: any, retryable?: boolean, status?: number,
   *   retryAfterMs?: number}} told */
  constructor({ code, message, details = {}, retryable = false, status = 0, retryAfterMs = 0 }) {
    super(message);
    this.name = "StorefrontError";
    this.code = code;
    this.details = details;
    this.retryable = retryable;
    this.status = status; // of HTTP; 0 when there was no answer
    this.retryAfterMs = retryAfterMs;
  }
}

/** One buyer at one shop: the tokens, the requests, the cart. */
export class Storefront {
  /** @type {Promise<Tokens> | null} */
  #fetchingTokens = null;

  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    this.cart = new CartManager(this);
  }

  /** @returns {Tokens | null} */
  get tokens() {
    return readJson(this.parts.storage, TOKENS);
  }

  get isKnown() {
    return this.tokens !== null;
  }

  /** Make a guest of a buyer without tokens. A repeat, even at once, makes no second one. */
  async ensureBuyer() {
    if (!this.isKnown) await this.#fetchTokens(() => this.#newTokens("auth/guest/", {}, null));
  }

  /** @param {string} email @param {string} password */
  register(email, password) {
    return this.#enter("auth/register/", email, password);
  }

  /** @param {string} email @param {string} password */
  signIn(email, password) {
    return this.#enter("auth/token/", email, password);
  }

  signOut() {
    this.parts.storage.removeItem(TOKENS);
    this.#newBuyer();
  }

  /**
   * One call to the API. A 401 has the tokens refreshed, once, and the call repeated.
   *
   * @param {string} method
   * @param {string} path below `apiUrl`
   * @param {{body?: any, headers?: Record<string, string>}} [options]
   * @returns {Promise<Reply>} of a 2xx or a 304
   * @throws {StorefrontError}
   */
  async request(method, path, options = {}) {
    const sent = this.tokens;
    let reply = await this.#send(method, path, options, sent?.access);
    if (reply.status === 401 && sent) {
      const fresh = await this.#fetchTokens(() => this.#refresh(sent));
      reply = await this.#send(method, path, options, fresh.access);
      if (reply.status === 401) throw this.#signedOut();
    }
    return read(reply);
  }

  /** @param {string} path @param {string} email @param {string} password */
  async #enter(path, email, password) {
    // A guest's cart comes along only with a token that still lives.
    const guest = this.tokens;
    if (guest) await this.#fetchTokens(() => this.#refresh(guest)).catch(unlessRetryable);
    await this.#newTokens(path, { email, password }, email);
    this.#newBuyer();
  }

  #newBuyer() {
    this.parts.storage.removeItem(CHECKOUT_KEY);
    this.cart.forget();
    this.parts.channel?.postMessage({ type: "buyer" });
  }

  /** @param {() => Promise<Tokens>} get */
  #fetchTokens(get) {
    this.#fetchingTokens ??= get().finally(() => (this.#fetchingTokens = null));
    return this.#fetchingTokens;
  }

  /** @param {string} path @param {object} body @param {string | null} email */
  async #newTokens(path, body, email) {
    const reply = await this.#send("POST", path, { body }, this.tokens?.access);
    return this.#keep({ ...(await read(reply)).content, email });
  }

  /** @param {Tokens} sent @returns {Promise<Tokens>} */
  async #refresh(sent) {
    const kept = this.tokens;
    if (kept && kept.access !== sent.access) return kept; // another tab was faster
    const reply = await this.#send("POST", "auth/token/refresh/", { body: { refresh: sent.refresh } });
    if (reply.status === 401 || reply.status === 400) throw this.#signedOut();
    return this.#keep({ ...sent, ...(await read(reply)).content });
  }

  /** @param {Tokens} tokens */
  #keep(tokens) {
    this.parts.storage.setItem(TOKENS, JSON.stringify(tokens));
    return tokens;
  }

  #signedOut() {
    this.signOut();
    return new StorefrontError({
      code: "signed_out",
      message: "You have been away for long and are signed out. Please sign in again.",
      status: 401,
    });
  }

  /** @param {string} method @param {string} path @param {{body?: any, headers?: any}} options
   *  @param {string} [access] */
  async #send(method, path, { body, headers = {} }, access) {
    try {
      return await this.parts.fetch.call(null, this.parts.apiUrl + path, {
        method,
        cache: "no-store", // we revalidate ourselves
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        headers: {
          ...(access && { Authorization: `Bearer ${access}` }),
          ...(body && { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body && JSON.stringify(body),
      });
    } catch {
      throw new StorefrontError({
        code: "no_connection",
        message: "We could not reach the shop. Please check your connection and try again.",
        retryable: true,
      });
    }
  }
}

/** The buyer's cart. Tells `change`, with the cart as `detail`, whoever changed it. */
export class CartManager extends EventTarget {
  /** @type {{cart: Cart, at: number, owner: string | undefined} | null} */
  #kept = null;
  #shop;

  constructor(shop = here()) {
    super();
    this.#shop = shop;
    shop.parts.channel?.addEventListener("message", ({ data }) => this.#hear(data));
  }

  /** The cart as this page last showed it; null if it did not. */
  get shown() {
    return this.#kept && this.#kept.owner === this.#owner ? this.#kept.cart : null;
  }

  /**
   * The cart, from a copy of at most 30 seconds unless `forceRefresh`; revalidated by its ETag.
   *
   * @returns {Promise<Cart>}
   */
  async getCart(forceRefresh = false) {
    if (!this.#shop.isKnown) return this.#keep(EMPTY_CART);
    const { shown } = this;
    const age = this.#shop.parts.now() - (this.#kept?.at ?? 0);
    if (shown && !forceRefresh && age < CART_FRESH_MS) return shown;
    const headers = shown && { "If-None-Match": `"${shown.version}"` };
    const reply = await this.#shop.request("GET", "cart/", { headers: headers ?? {} });
    return this.#keep(reply.status === 304 && shown ? shown : reply.content);
  }

  /** A buyer without an account becomes a guest. A repeat adds again.
   *  @param {number} productId @param {number | null} variantId */
  async addItem(productId, variantId, quantity = 1) {
    await this.#shop.ensureBuyer();
    const body = { product_id: productId, variant_id: variantId, quantity };
    const reply = await this.#shop.request("POST", "cart/add/", { body });
    return this.#changed(reply.content.cart);
  }

  /** @param {number} itemId @param {number} quantity zero takes the line out */
  async setQuantity(itemId, quantity) {
    if (quantity <= 0) return this.removeItem(itemId);
    const reply = await this.#shop.request("PATCH", `cart/items/${itemId}/`, { body: { quantity } });
    return this.#changed(reply.content);
  }

  /** @param {number} itemId */
  async removeItem(itemId) {
    return this.#changed((await this.#shop.request("DELETE", `cart/items/${itemId}/`)).content);
  }

  async clear() {
    return this.#changed((await this.#shop.request("DELETE", "cart/")).content);
  }

  /**
   * Post the cart that this page shows. If the server has another one, nothing is ordered.
   *
   * @param {Address} shippingAddress @param {Address | null} [billingAddress]
   * @returns {Promise<Checkout>}
   * @throws {StorefrontError} `cart_changed` with the true cart in `details.cart`; `cart_empty`
   */
  async checkout(shippingAddress, billingAddress = null) {
    const { shown } = this;
    const cart = await this.getCart(true);
    if (!cart.items.length) {
      const message = "Your cart is empty. Please put something in it first.";
      throw new StorefrontError({ code: "cart_empty", message, details: { cart } });
    }
    if (shown && shown.version !== cart.version) {
      const message = "Your cart has changed. Please check it and order again.";
      throw new StorefrontError({ code: "cart_changed", message, details: { cart } });
    }
    return startCheckout({ shippingAddress, billingAddress, cart }, this.#shop);
  }

  forget() {
    this.#kept = null;
  }

  get #owner() {
    return this.#shop.tokens?.refresh;
  }

  /** @param {Cart} cart */
  #keep(cart) {
    const isNew = this.shown?.version !== cart.version;
    this.#kept = { cart, at: this.#shop.parts.now(), owner: this.#owner };
    if (isNew) this.dispatchEvent(new CustomEvent("change", { detail: cart }));
    return cart;
  }

  /** @param {Cart} cart */
  #changed(cart) {
    this.#shop.parts.channel?.postMessage({ type: "cart", version: cart.version });
    return this.#keep(cart);
  }

  /** @param {{type: string, version?: number}} message from another tab */
  #hear({ type, version }) {
    if (type === "cart" && version === this.shown?.version) return;
    this.getCart(true).catch(unlessRetryable); // offline: the next look will tell
  }
}

/** The cart as the server has it now. */
export const getUserActiveCart = (shop = here()) => shop.cart.getCart(true);

/**
 * Post the cart; a cart error is recovered from, once, and then told.
 *
 * @param {Address} shippingAddress @param {Address | null} [billingAddress]
 * @returns {Promise<Checkout>}
 */
export async function processCheckout(shippingAddress, billingAddress = null, shop = here()) {
  try {
    return await shop.cart.checkout(shippingAddress, billingAddress);
  } catch (error) {
    await handleCartError(error, shop);
    throw error; // never posted again unasked: the buyer has not seen the new total
  }
}

/**
 * Forget every copy of the cart, older storefronts' too, fetch it anew and report that.
 *
 * @param {string} kind what went wrong, for operations
 */
export async function recoverCartSync(kind = "stale_copy", shop = here()) {
  const seen = shop.cart.shown;
  for (const key of LEFT_BY_OLDER_STOREFRONTS) shop.parts.storage.removeItem(key);
  shop.cart.forget();
  const cart = await shop.cart.getCart(true);
  if (shop.isKnown) {
    const body = { kind, cart_version: seen?.version ?? null, detail: `now ${cart.version}` };
    await shop.request("POST", "cart/sync-events/", { body }).catch(() => {}); // a courtesy
  }
  return cart;
}

/**
 * Recover from an error about the cart, at most once a minute, and without reloading the page.
 *
 * @param {unknown} error
 * @returns {Promise<Cart | null>} the true cart; null: not a cart error, or recovered just now
 */
export async function handleCartError(error, shop = here()) {
  const { storage, now } = shop.parts;
  if (!(error instanceof StorefrontError) || !CART_ERRORS.has(error.code)) return null;
  if (now() - Number(storage.getItem(RECOVERED_AT)) < RECOVERY_PAUSE_MS) return null;
  storage.setItem(RECOVERED_AT, String(now()));
  return recoverCartSync(error.code, shop);
}
