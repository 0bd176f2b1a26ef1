/** The browser's parts for tests: a manual clock and a scripted server. */

import { webcrypto } from "node:crypto";

import { Session } from "../../shop/static/shop/storefront.js";

// Node 18 hides these two, which every browser has.
globalThis.crypto ??= webcrypto;
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail }) {
    super(type);
    this.detail = detail;
  }
};

const START_MS = Date.UTC(2026, 10, 22, 6, 30);

export class Clock {
  nowMs = START_MS;
  timers = [];

  setTimeout = (work, ms) => {
    const timer = { work, at: this.nowMs + ms };
    this.timers.push(timer);
    return timer;
  };

  clearTimeout = (timer) => {
    this.timers = this.timers.filter((other) => other !== timer);
  };

  /** Advance the clock and run the timers that fall due, in order. */
  async advance(ms) {
    const end = this.nowMs + ms;
    await settled();
    for (;;) {
      const [next] = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.nowMs = next.at;
      this.clearTimeout(next);
      next.work();
      await settled();
    }
    this.nowMs = end;
  }
}

/** Run the promises that are ready. */
export const settled = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

export class Storage {
  kept = new Map();
  getItem = (key) => this.kept.get(key) ?? null;
  setItem = (key, value) => void this.kept.set(key, String(value));
  removeItem = (key) => void this.kept.delete(key);
}

/** `answers["GET cart/"] = (request) => answer(…)`; requests are kept in order. */
export class Server {
  requests = [];
  answers = {};

  fetch = async (url, { method, headers, body, keepalive }) => {
    const path = url.replace("/api/", "");
    const request = {
      method,
      path,
      headers: new Headers(headers),
      body: body && JSON.parse(body),
      keepalive,
    };
    this.requests.push(request);
    const say = this.answers[`${method} ${path}`];
    if (!say) throw new Error(`the test has no answer to ${method} ${path}`);
    return say(request);
  };

  /** The requests to one endpoint, such as `GET cart/`. */
  to(address) {
    return this.requests.filter(({ method, path }) => `${method} ${path}` === address);
  }
}

export const answer = (status, content, headers = {}) =>
  new Response(content === undefined ? null : JSON.stringify(content), { status, headers });

export const refusal = (status, code, details = {}, headers = {}) =>
  answer(status, { code, error: "No.", message: "No.", details }, headers);

export const lost = () => {
  throw new TypeError("fetch failed");
};

/** Responds with each of `says` in turn, and then always with the last. */
export const inTurn = (...says) => (request) => (says.length > 1 ? says.shift() : says[0])(request);

/** Connects the channels of the tabs of one browser. */
export class Hub {
  tabs = [];
  channel() {
    const tab = new EventTarget();
    this.tabs.push(tab);
    tab.postMessage = (data) => {
      for (const other of this.tabs) {
        if (other !== tab) other.dispatchEvent(new MessageEvent("message", { data }));
      }
    };
    return tab;
  }
}

export const TOKENS = { access: "old-access", refresh: "refresh", email: null };

/** A page of the shop; `signedIn` with the tokens of a guest. */
export function open({
  server = new Server(),
  clock = new Clock(),
  storage = new Storage(),
  hub = new Hub(),
  razorpay = () => undefined,
  signedIn = true,
} = {}) {
  if (signedIn) storage.setItem("pakka.tokens", JSON.stringify(TOKENS));
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const network = new EventTarget();
  const session = new Session({
    apiUrl: "/api/",
    storage,
    fetch: server.fetch,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    now: () => clock.nowMs,
    random: () => 0.5,
    channel: hub.channel(),
    page,
    network,
    razorpay,
  });
  return { session, server, clock, storage, hub, page, network };
}

export const cartOf = (version, ...items) => ({
  id: 7,
  version,
  currency: "INR",
  items_count: items.length,
  units_count: items.length,
  total_price: items.length * 349,
  total_paise: items.length * 34900,
  items,
});

export const PLANTER = { id: 1, product_id: 4, variant_id: 8, name: "Planter", quantity: 1 };

export const ADDRESS = {
  name: "Asha Rao",
  line1: "14 Rest House Road",
  city: "Bengaluru",
  state: "Karnataka",
  postal_code: "560001",
  phone: "9845012345",
};

export const checkoutOf = (status, { afterMs = 1000, done = false, ...rest } = {}) => ({
  id: "c-1",
  status,
  message: "",
  amount_paise: 34900,
  steps: [],
  payment: null,
  order: null,
  error: null,
  refund: null,
  poll: { after_ms: afterMs, done },
  ...rest,
});
