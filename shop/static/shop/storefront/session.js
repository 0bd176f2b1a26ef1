/**
 * The buyer's tokens, and requests to the shop's API.
 *
 * @typedef {{getItem(key: string): string | null, setItem(key: string, value: string): void,
 *   removeItem(key: string): void}} KeyValueStore
 * @typedef {object} Parts what the module needs from the browser
 * @property {string} apiUrl ends with a slash
 * @property {KeyValueStore} storage
 * @property {typeof fetch} fetch
 * @property {(work: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now in milliseconds
 * @property {() => number} random from 0 to 1
 * @property {{postMessage(message: any): void, addEventListener(type: "message",
 *   listener: (event: any) => void): void} | null} channel to the other tabs of this shop
 * @property {EventTarget & {visibilityState?: string}} page fires `visibilitychange`
 * @property {EventTarget} network fires `online`
 * @property {() => any} razorpay the constructor from checkout.js, once that has loaded
 *
 * @typedef {{access: string, refresh: string, email: string | null}} Tokens email: null for a guest
 * @typedef {{status: number, headers: Headers, content: any}} Reply
 */

const MAX_TRIES = 3; // of a request that can be repeated
export const FIRST_BACKOFF_MS = 1_000;
const MAX_WAIT_MS = 10_000; // between two tries

const REQUEST_TIMEOUT_MS = 20_000;
const TOKENS = "pakka.tokens";
export const CHECKOUT_KEY = "pakka.checkoutKey";

/** An error with a sentence for the buyer. `retryable`: the same request may work later. */
export class StorefrontError extends Error {
  /** @param {{code: string, message: string, details?: any, retryable?: boolean, status?: number,
   *   retryAfterMs?: number}} fields */
  constructor({ code, message, details = {}, retryable = false, status = 0, retryAfterMs = 0 }) {
    super(message);
    this.name = "StorefrontError";
    this.code = code;
    this.details = details;
    this.retryable = retryable;
    this.status = status; // of HTTP; 0 without a response
    this.retryAfterMs = retryAfterMs;
  }
}

/** One buyer at one shop: the tokens and the requests. */
export class Session {
  /** @type {Promise<Tokens> | null} */
  #fetchingTokens = null;

  #aheadMs = 0; // server clock minus our clock, which may be wrong by hours

  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
  }

  /** @returns {Tokens | null} */
  get tokens() {
    return readJson(this.parts.storage, TOKENS);
  }

  /** The time at the server, in milliseconds. */
  get now() {
    return this.parts.now() + this.#aheadMs;
  }

  get isKnown() {
    return this.tokens !== null;
  }

  /** Create a guest if there are no tokens. Concurrent calls create one. */
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

  /** Delete the tokens at once, and end the session on the server, for every device. */
  async signOut() {
    const tokens = this.tokens;
    this.#forget();
    if (tokens) await this.#send("POST", "auth/sign-out/", { body: { refresh: tokens.refresh } }).catch(ignoreShopError);
  }

  #forget() {
    this.parts.storage.removeItem(TOKENS);
    this.#newBuyer();
  }

  /**
   * Call the API. After a 401, refresh the tokens and repeat the call once.
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
    // The guest's cart is merged only with a valid guest token.
    const guest = this.tokens;
    if (guest) await this.#fetchTokens(() => this.#refresh(guest)).catch(ignoreShopError);
    await this.#newTokens(path, { email, password }, email);
    this.#newBuyer();
  }

  #newBuyer() {
    this.parts.storage.removeItem(CHECKOUT_KEY);
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
    const wasGuest = this.tokens?.email === null;
    this.#forget();
    return new StorefrontError({
      code: "signed_out",
      message: wasGuest
        ? "Your guest session has expired. Please start again."
        : "Your session has expired. Please sign in again.",
      status: 401,
    });
  }

  /** @param {string} method @param {string} path @param {{body?: any, headers?: any}} options
   *  @param {string} [access] */
  async #send(method, path, { body, headers = {} }, access) {
    try {
      const reply = await this.parts.fetch.call(null, this.parts.apiUrl + path, {
        method,
        cache: "no-store", // we revalidate with our own ETags
        keepalive: path === "auth/sign-out/", // the buyer may leave the page
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        headers: {
          ...(access && { Authorization: `Bearer ${access}` }),
          ...(body && { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body && JSON.stringify(body),
      });
      const serverMs = Date.parse(reply.headers.get("Date") ?? "");
      if (serverMs) this.#aheadMs = serverMs - this.parts.now();
      return reply;
    } catch {
      throw new StorefrontError({
        code: "no_connection",
        message: "We could not reach the shop. Please check your connection and try again.",
        retryable: true,
      });
    }
  }
}

/** @param {Response} response @returns {Promise<Reply>} @throws {StorefrontError} for an error response */
async function read(response) {
  const content = await response.json().catch(() => null);
  const { status, headers } = response;
  if (response.ok || status === 304) return { status, headers, content };
  throw new StorefrontError({
    code: content?.code ?? "no_answer",
    message: content?.message ?? "Something went wrong at the shop. Please try again.",
    details: content?.details,
    retryable: status === 429 || status >= 500,
    status,
    retryAfterMs: retryAfterMs(headers),
  });
}

/** The `Retry-After` header in milliseconds; 0 without it. @param {Headers} headers */
export const retryAfterMs = (headers) => 1000 * (Number(headers.get("Retry-After")) || 0);

/** @param {KeyValueStore} storage @param {string} key @returns {any} null if missing or invalid */
export function readJson(storage, key) {
  try {
    return JSON.parse(storage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** A `catch` handler where an error response or a lost network does not matter. @param {unknown} error */
export function ignoreShopError(error) {
  if (!(error instanceof StorefrontError)) throw error;
}

/**
 * Repeat a request, up to `MAX_TRIES` times, while the error is retryable.
 *
 * @template T @param {() => Promise<T>} send @param {Session} session @returns {Promise<T>}
 */
export async function withRetries(send, { parts }) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof StorefrontError) || !error.retryable || tries === MAX_TRIES) throw error;
      const pauseMs = Math.max(error.retryAfterMs, FIRST_BACKOFF_MS * tries);
      if (pauseMs > MAX_WAIT_MS) throw error;
      await new Promise((resolve) => parts.setTimeout(() => resolve(null), pauseMs));
    }
  }
}

// --- this browser -------------------------------------------------------------------

/** @type {Session | undefined} */
let session;

/** The session of this page. Created on first use, so that programs without a browser can import this. */
export function here() {
  return (session ??= new Session(browserParts()));
}

/** @returns {Parts} */
function browserParts() {
  return {
    apiUrl: "/api/",
    storage: storage(),
    fetch: globalThis.fetch,
    setTimeout: (work, ms) => globalThis.setTimeout(work, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    now: Date.now,
    random: Math.random,
    channel: "BroadcastChannel" in globalThis ? new BroadcastChannel("pakka") : null,
    page: document,
    network: window,
    razorpay: () => Reflect.get(globalThis, "Razorpay"),
  };
}

/** localStorage, or memory where the browser forbids it. @returns {KeyValueStore} */
function storage() {
  try {
    localStorage.getItem(TOKENS);
    return localStorage;
  } catch {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => void kept.set(key, value),
      removeItem: (key) => void kept.delete(key),
    };
  }
}
