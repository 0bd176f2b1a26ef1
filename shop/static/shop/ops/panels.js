/** Each panel of the page, from the figures of `/ops/data.json`. */

import { make } from "../pages/dom.js";
import { bar, facts, link, note, number, since, table, text } from "./elements.js";
import { NOTHING, count, duration, percent } from "./format.js";

const STEPS = /** @type {Record<string, string>} */ ({
  validate_cart: "Validate cart",
  create_order: "Create order",
  create_razorpay_order: "Create Razorpay order",
  expire: "Expire unpaid checkouts",
  reconcile_webhook: "Apply webhooks",
  resolve_orders: "Look up orders of webhooks",
  check_payments: "Poll payments",
  capture: "Capture payments",
  send_refunds: "Send refunds",
});
const STEP_OF_STATE = /** @type {Record<string, string>} */ ({
  queued: STEPS.validate_cart,
  validated: STEPS.create_order,
  ordered: STEPS.create_razorpay_order,
});
const LATE_MS = 30_000;
const MAX_SESSIONS = 10; // more in the CSV

/** @param {any[]} rows @param {string} name */
const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);

/** @param {any} current */
export function attention({ attention: entries }) {
  if (entries.length === 0) {
    return [make("li", { data: { level: "good" } }, "Nothing needs a person.")];
  }
  return entries.map((/** @type {any} */ { level, text, link: href }) =>
    make("li", { data: { level } }, href ? link(text, href) : text),
  );
}

/** @param {any} figures */
export function tiles({ span, current }) {
  const { checkouts, times } = span;
  const minutes = (Date.parse(span.until) - Date.parse(span.since)) / 60_000;
  const { queues, stock } = current;
  /** @type {[name: string, value: string, beside: string][]} */
  const shown = [
    ["Started", count(checkouts?.totals.started), `${rate(checkouts?.totals.started, minutes)} per minute`],
    ["Paid", count(checkouts?.totals.paid), `${rate(checkouts?.totals.paid, minutes)} per minute`],
    ["Success", percent(checkouts?.success), `of ${count(checkouts?.ended)} that ended`],
    ["Failure", percent(checkouts?.failure), `${count(checkouts?.totals.failed)} failed`],
    ["To payable", duration(times?.payable.p95), "p95"],
    ["To paid", duration(times?.paid.p50), "p50"],
    [
      "Due now",
      count(sum(current.steps, "due")),
      queues ? `${count(sum(queues, "messages"))} messages queued` : "Redis is unavailable",
    ],
    ["Units held", count(stock.held_units), `${count(stock.lapsed_units)} past their end`],
  ];
  return shown.map(([name, value, beside]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, beside))),
  );
}

/** @param {number | undefined} total @param {number} minutes */
const rate = (total, minutes) =>
  total == null ? NOTHING : (total / minutes).toLocaleString("en-IN", { maximumSignificantDigits: 2 });

/** @param {any} span */
export function funnel({ checkouts: { funnel: found } }) {
  const share = (/** @type {number} */ part) => (found.started ? part / found.started : null);
  return [
    make(
      "ul",
      { className: "ops-bars" },
      bar("Started", count(found.started), share(found.started), "first"),
      bar("Payable", `${count(found.payable)} · ${percent(found.payable_of_started)}`, share(found.payable), "second"),
      bar("Paid", `${count(found.paid)} · ${percent(found.paid_of_started)}`, share(found.paid), "good"),
    ),
    facts([
      ["Paid, of payable", percent(found.paid_of_payable)],
      ["Abandoned, of payable", percent(found.abandoned_of_payable)],
      ["Failed", count(found.failed)],
    ]),
    note("Checkouts that started in this range. Abandoned: expired or cancelled after it was payable."),
  ];
}

/** @param {any} span */
export function times({ times: { payable, paid } }) {
  const found = table(
    "Time from POST",
    [
      text("Until", (row) => row.name),
      ...["p50", "p95", "p99"].map((name) => number(name, (row) => duration(row[name]))),
      number("Checkouts", (row) => count(row.checkouts)),
    ],
    [
      { name: "payable", ...payable },
      { name: "paid", ...paid },
    ],
  );
  const timed = count(Math.max(payable.checkouts, paid.checkouts));
  const isCapped = payable.is_capped || paid.is_capped;
  return isCapped ? [found, note(`Only the latest ${timed} checkouts are timed.`)] : [found];
}

/** @param {any} span */
export const reasons = ({ reasons: rows }) => [
  table(
    "Reasons for unpaid checkouts and failed payments",
    [
      text("What", (row) => row.ended),
      text("Reason", (row) => row.reason),
      number("Count", (row) => count(row.checkouts)),
    ],
    rows,
    "Everything was paid.",
  ),
];

/** @param {any} current */
export function stuck({ stuck: { reasons, rows } }) {
  const found = table(
    "Stuck checkouts",
    [
      text("Checkout", (row) => link(row.order || row.checkout.slice(0, 8), row.link)),
      text("Next step", (row) => STEP_OF_STATE[row.state] ?? row.state),
      text("Reason", (row) => row.reason),
      number("Age", (row) => since(row.created_at)),
      number("Attempts", (row) => count(row.attempts)),
      text("Last error", (row) =>
        make("span", { className: "ops-error", title: row.last_error }, row.last_error),
      ),
    ],
    rows,
    "Nothing is stuck.",
  );
  if (rows.length === 0) return [found];
  const byReason = reasons.map((/** @type {any} */ row) => [
    row.reason,
    make("span", {}, `${count(row.count)} · oldest `, since(row.oldest_at)),
  ]);
  return [facts(byReason), found];
}

/** @param {any} current @param {number} nowMs */
export function queues({ steps, queues, heartbeats }, nowMs) {
  const isLate = (/** @type {any} */ row) => row.due > 0 && nowMs - Date.parse(row.oldest_due_at) > LATE_MS;
  return [
    table(
      "Waiting work, by step",
      [
        text("Step", (row) => STEPS[row.step] ?? row.step),
        number("Waiting", (row) => count(row.waiting)),
        number("Due", (row) => count(row.due)),
        number("Oldest due", (row) =>
          make("span", { data: isLate(row) ? { tone: "bad" } : {} }, row.due ? since(row.oldest_due_at) : NOTHING),
        ),
      ],
      steps,
    ),
    queues === null
      ? note("Redis is unavailable: messages cannot be counted.")
      : facts(
          queues.map((/** @type {any} */ { queue, messages }) => [`Queue ${queue}, messages`, count(messages)]),
        ),
    facts(
      heartbeats.map((/** @type {any} */ { name, at, is_late, link: href }) => [
        is_late ? link(`Heartbeat of ${name}`, href) : `Heartbeat of ${name}`,
        at ? since(at) : "never",
        is_late ? "bad" : "",
      ]),
    ),
  ];
}

/** @param {any} current @param {(ms: number) => string} clock */
export function breaker({ breaker: { state, until } }, clock) {
  const shown = state.replace("_", "-") + (until ? ` until ${clock(Date.parse(until))}` : "");
  return [
    facts([["Circuit breaker", shown, state === "closed" ? "good" : "bad"]]),
    note("Grafana shows calls, failures and times by operation."),
  ];
}

/** @param {any} figures */
export function webhooks({ span: { webhooks: past }, current: { webhooks: now } }) {
  return [
    facts([
      ["Webhooks", now.are_missing ? "silent" : "arriving", now.are_missing ? "bad" : "good"],
      ["Last webhook", since(now.last_event_at)],
      ...(past ? received(past) : []),
      ["Wrong signature, ever", now.forged === null ? "Redis is unavailable" : count(now.forged)],
      ["Dead or unreadable", count(now.dead_or_unreadable), now.dead_or_unreadable ? "bad" : ""],
    ]),
  ];
}

/** @param {any} past @returns {[string, string][]} */
function received(past) {
  const captured = past.captured_by_webhook + past.missed;
  return [
    ["Received, handled", `${count(past.received)}, ${count(past.handled)}`],
    ["Razorpay to shop, p50 / p95", `${duration(past.delivery_p50)} / ${duration(past.delivery_p95)}`],
    ["Received to handled, p50 / p95", `${duration(past.handling_p50)} / ${duration(past.handling_p95)}`],
    ["Payments found by polling", `${count(past.missed)} · ${percent(captured ? past.missed / captured : null)}`],
  ];
}

/** @param {any} current */
export function money({ refunds, cases }) {
  /** @param {string} title @param {any} part @param {string} name @param {string} column */
  const counted = (title, { link: href, rows }, name, column) =>
    make(
      "div",
      {},
      make("h3", {}, link(title, href)),
      table(
        title,
        [
          text(name, (row) => row[column].replaceAll("_", " ")),
          number("Count", (row) => count(row.count)),
          number("Oldest", (row) => since(row.oldest_at)),
        ],
        rows,
      ),
    );
  return [
    counted("Unconfirmed refunds", refunds, "Status", "status"),
    counted("Open cases", cases, "Kind", "kind"),
  ];
}

/** @param {any} current */
export const stock = ({ stock: found }) => [
  facts([
    ["Held for unpaid orders", count(found.held_units)],
    ["Held by guests", count(found.held_by_guests)],
    ["Most at one address", count(found.held_at_one_address)],
    ["Checkouts refused in 15 minutes", count(found.refused_15m)],
    [
      "Past their end",
      `${count(found.lapsed_units)} in ${count(found.lapsed_holds)} checkouts`,
      found.lapsed_holds ? "bad" : "",
    ],
  ]),
  table(
    "Variants with most units held",
    [
      text("SKU", (row) => row.sku),
      text("Product", (row) => row.name),
      number("Held", (row) => count(row.held)),
      number("On hand", (row) => count(row.on_hand)),
    ],
    found.top,
    "Nothing is held.",
  ),
];

/** @param {any} span */
export const carts = ({ carts: found }) => [
  facts([
    ["Carts in use", `${count(found.active)}${found.is_capped ? "+" : ""}, ${count(found.of_guests)} of guests`],
    ["Not empty", count(found.filled)],
    ["Posted as a checkout", `${count(found.posted)} · ${percent(found.posted_of_active)}`],
    ["Age under 1 hour / 1 day / older", `${count(found.within_hour)} / ${count(found.within_day)} / ${count(found.older)}`],
    ["POSTs of an empty cart", count(found.empty_attempts), found.empty_attempts ? "bad" : ""],
    ["POSTs of a changed cart", count(found.changed_attempts)],
    ["Stale copies reported", count(found.stale_reports)],
  ]),
  make("h3", {}, "Sessions whose storefront showed another cart than the server"),
  table(
    "Sessions whose storefront showed another cart than the server",
    [
      text("Session", (row) => `${row.is_guest ? "guest" : "account"} ${row.session}`),
      number("Cart", (row) => (row.cart == null ? NOTHING : String(row.cart))),
      number("Age", (row) => since(row.created_at)),
      number("Units", (row) => count(row.units)),
      number("Stale", (row) => count(row.stale)),
      number("Refused", (row) => count(row.refused)),
      text("Last event", (row) => row.last_kind.replace(/^refused:/, "refused: ")),
      number("When", (row) => since(row.last_at)),
      text("Checkout", (row) => row.checkout ?? NOTHING),
    ],
    found.sessions.slice(0, MAX_SESSIONS),
    "None in this range.",
  ),
];
