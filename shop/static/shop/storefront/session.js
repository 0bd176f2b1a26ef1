/**
 * Who the buyer is, and how the shop's API is asked.
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
 * @typedef {{status: number, headers: Headers, content: any}} Reply
 */

export const TRIES = 3; // of a request that may be repeated
export const FIRST_BACKOFF_MS = 1_000;
const MAX_WAIT_MS = 10_000; // that a buyer is kept waiting between two tries

const REQUEST_TIMEOUT_MS = 20_000;
const TOKENS = "pakka.tokens";
export const CHECKOUT_KEY = "pakka.checkoutKey";

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

/** One buyer at one shop: the tokens and the requests. */
export class Session {
  /** @type {Promise<Tokens> | null} */
  #fetchingTokens = null;

  #aheadMs = 0; // the server's clock, of ours: a buyer's may be wrong by hours

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

  /** Forget the tokens at once, and have the server end the session, on every device. */
  async signOut() {
    const tokens = this.tokens;
    this.#forget();
    if (tokens) await this.#send("POST", "auth/sign-out/", { body: { refresh: tokens.refresh } }).catch(unlessTold);
  }

  #forget() {
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
    if (guest) await this.#fetchTokens(() => this.#refresh(guest)).catch(unlessTold);
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
        ? "You were away for long, so your visit as a guest has ended. Please start again."
        : "You were away for long, so you are signed out. Please sign in again.",
      status: 401,
    });
  }

  /** @param {string} method @param {string} path @param {{body?: any, headers?: any}} options
   *  @param {string} [access] */
  async #send(method, path, { body, headers = {} }, access) {
    try {
      const reply = await this.parts.fetch.call(null, this.parts.apiUrl + path, {
        method,
        cache: "no-store", // we revalidate ourselves
        keepalive: path === "auth/sign-out/", // the page may be left meanwhile
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        headers: {
          ...(access && { Authorization: `Bearer ${access}` }),
          ...(body && { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body && JSON.stringify(body),
      });
      const told = Date.parse(reply.headers.get("Date") ?? "");
      if (told) this.#aheadMs = told - this.parts.now();
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

/** @param {Response} response @returns {Promise<Reply>} @throws {StorefrontError} what it refused */
async function read(response) {
  const content = await response.json().catch(() => null);
  const { status, headers } = response;
  if (response.ok || status === 304) return { status, headers, content };
  throw new StorefrontError({
    code: content?.code ?? "no_answer",
    message: content?.message ?? "The shop did not answer as it should. Please try again.",
    details: content?.details,
    retryable: status === 429 || status >= 500,
    status,
    retryAfterMs: retryAfterMs(headers),
  });
}

/** What the `Retry-After` header asks for; 0 when it is not there. @param {Headers} headers */
export const retryAfterMs = (headers) => 1000 * (Number(headers.get("Retry-After")) || 0);

/** @param {Keeper} storage @param {string} key @returns {any} null when it is not there, or broken */
export function readJson(storage, key) {
  try {
    return JSON.parse(storage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** For `catch`, where a refusal or a lost network changes nothing. @param {unknown} error */
export function unlessTold(error) {
  if (!(error instanceof StorefrontError)) throw error;
}

/**
 * Repeat a request that may be repeated, while repeating can help.
 *
 * @template T @param {() => Promise<T>} ask @param {Session} session @returns {Promise<T>}
 */
export async function insistently(ask, { parts }) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StorefrontError) || !error.retryable || tries === TRIES) throw error;
      const pauseMs = Math.max(error.retryAfterMs, FIRST_BACKOFF_MS * tries);
      if (pauseMs > MAX_WAIT_MS) throw error;
      await new Promise((resolve) => parts.setTimeout(() => resolve(null), pauseMs));
    }
  }
}

// --- the browser we are in -------------------------------------------------------------------

/** @type {Session | undefined} */
let ours;

/** The session of this page. Made on first use, so that a program without a browser can import us. */
export function here() {
  return (ours ??= new Session(browserParts()));
}

/** @returns {Parts} */
function browserParts() {
  return {
    apiUrl: "/api/",
    storage: keeper(),
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

/** localStorage, or a page's memory where that is forbidden. @returns {Keeper} */
function keeper() {
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
