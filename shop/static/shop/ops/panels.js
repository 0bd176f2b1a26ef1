/** Each panel of the page, from an answer of the shop. */

import { make } from "../pages/dom.js";
import { bar, facts, link, since, table } from "./parts.js";
import { NOTHING, count, duration, percent } from "./words.js";

const STUCK_STATES = /** @type {Record<string, string>} */ ({
  queued: "validate cart",
  validated: "create order",
  ordered: "create Razorpay order",
});
const STEPS = /** @type {Record<string, string>} */ ({
  validate_cart: "Validate cart",
  create_order: "Create order",
  create_razorpay_order: "Create Razorpay order",
  expire: "End of the time to pay",
  reconcile_webhook: "Webhooks",
  check_payments: "Ask Razorpay",
  capture: "Capture",
  send_refunds: "Send refunds",
});
const LATE_MS = 30_000;
const SESSIONS_SHOWN = 10; // more in the CSV

/** @param {any} standing */
export function attention({ attention: signs }) {
  if (signs.length === 0) {
    return [make("li", { data: { level: "good" } }, "Nothing needs a person.")];
  }
  return signs.map((/** @type {any} */ { level, text, link: href }) =>
    make("li", { data: { level } }, href ? link(text, href) : text),
  );
}

/** @param {any} answer */
export function tiles({ span, standing }) {
  const due = standing.steps.reduce((/** @type {number} */ sum, /** @type {any} */ it) => sum + it.due, 0);
  const { checkouts: found, times } = span;
  const minutes = (Date.parse(span.until) - Date.parse(span.since)) / 60_000;
  /** @type {[name: string, value: string, beside: string][]} */
  const shown = [
    ["Started", count(found?.totals.started), `${rate(found?.totals.started, minutes)} a minute`],
    ["Paid", count(found?.totals.paid), `${rate(found?.totals.paid, minutes)} a minute`],
    ["Success", percent(found?.success), `of ${count(found?.ended)} that ended`],
    ["Failure", percent(found?.failure), `${count(found?.totals.failed)} failed`],
    ["To payable", duration(times?.payable.p95), "95% within"],
    ["To paid", duration(times?.paid.p50), "half within"],
    ["Due now", count(due), standing.queues ? `${count(messages(standing))} messages` : "Redis away"],
    ["Units held", count(standing.stock.held_units), `${count(standing.stock.overdue_holds)} past their end`],
  ];
  return shown.map(([name, value, beside]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, beside))),
  );
}

/** @param {any} standing */
const messages = ({ queues }) =>
  queues.reduce((/** @type {number} */ sum, /** @type {any} */ it) => sum + it.messages, 0);

/** @param {number | undefined} total @param {number} minutes */
const rate = (total, minutes) =>
  total == null ? NOTHING : (total / minutes).toLocaleString("en-IN", { maximumSignificantDigits: 2 });

/** @param {any} span */
export function funnel({ checkouts: { funnel: it } }) {
  const of = (/** @type {number} */ part) => (it.started ? part / it.started : null);
  return [
    make(
      "ul",
      { className: "ops-bars" },
      bar("Posted", count(it.started), of(it.started), "first"),
      bar("Payable", `${count(it.payable)} · ${percent(it.payable_of_started)}`, of(it.payable), "second"),
      bar("Paid", `${count(it.paid)} · ${percent(it.paid_of_started)}`, of(it.paid), "good"),
    ),
    facts([
      ["Paid, of payable", percent(it.paid_of_payable)],
      ["Abandoned, of payable", percent(it.abandoned_of_payable)],
      ["Failed", `${count(it.failed)}`],
    ]),
    make(
      "p",
      { className: "ops-quiet" },
      "Of the checkouts that were posted in this range. Abandoned: expired or cancelled when payable.",
    ),
  ];
}

/** @param {any} span */
export function times({ times: { payable, paid } }) {
  const rows = [
    { name: "payable", ...payable },
    { name: "paid", ...paid },
  ];
  const found = table(
    "Times to payable and to paid",
    [
      { name: "Until", of: (row) => row.name },
      ...["p50", "p95", "p99"].map((it) => ({
        name: it,
        isNumber: true,
        of: (/** @type {any} */ row) => duration(row[it]),
      })),
      { name: "Checkouts", isNumber: true, of: (row) => count(row.checkouts) },
    ],
    rows,
  );
  const isCapped = payable.is_capped || paid.is_capped;
  return isCapped ? [found, capped(payable, paid)] : [found];
}

/** @param {...any} parts */
const capped = (...parts) =>
  make(
    "p",
    { className: "ops-quiet" },
    `Only the latest ${count(Math.max(...parts.map((it) => it.checkouts)))} checkouts are timed.`,
  );

/** @param {any} span */
export function reasons({ reasons: rows }) {
  return [
    table(
      "Why checkouts ended unpaid and payments failed",
      [
        { name: "What", of: (row) => row.ended },
        { name: "Why", of: (row) => row.reason },
        { name: "How many", isNumber: true, of: (row) => count(row.checkouts) },
      ],
      rows,
      "Everything went through.",
    ),
  ];
}

/** What the circuit breaker before Razorpay is at. @param {string} state */
export const breaker = (state) => (state === "ok" ? "breaker closed" : `left alone: breaker ${state}`);

/** @param {any} standing */
export function stuck({ stuck: { reasons, rows } }) {
  const counted = facts(
    reasons.map((/** @type {any} */ it) => [
      it.reason,
      make("span", {}, `${count(it.count)} · oldest `, since(it.oldest_at)),
    ]),
  );
  return [
    ...(reasons.length ? [counted] : []),
    table(
      "Stuck checkouts",
      [
        { name: "Checkout", of: (row) => link(row.order || row.checkout.slice(0, 8), row.link) },
        { name: "Waits for", of: (row) => STUCK_STATES[row.state] ?? row.state },
        { name: "Because", of: (row) => row.reason },
        { name: "Age", isNumber: true, of: (row) => since(row.created_at) },
        { name: "Tries", isNumber: true, of: (row) => count(row.attempts) },
        {
          name: "Last error",
          of: (row) => make("span", { className: "ops-error", title: row.last_error }, row.last_error),
        },
      ],
      rows,
      "Nothing is stuck.",
    ),
  ];
}

/** @param {any} standing @param {number} nowMs */
export function queues({ steps, queues: found, signs_of_life: signs }, nowMs) {
  const isLate = (/** @type {any} */ row) => row.due > 0 && nowMs - Date.parse(row.oldest_due_at) > LATE_MS;
  return [
    table(
      "Work that waits, by step",
      [
        { name: "Step", of: (row) => STEPS[row.step] ?? row.step },
        { name: "Waiting", isNumber: true, of: (row) => count(row.waiting) },
        { name: "Due", isNumber: true, of: (row) => count(row.due) },
        {
          name: "Oldest due",
          isNumber: true,
          of: (row) =>
            make("span", { data: isLate(row) ? { tone: "bad" } : {} }, row.due ? since(row.oldest_due_at) : NOTHING),
        },
      ],
      steps,
    ),
    found === null
      ? make("p", { className: "ops-quiet" }, "Redis is away: no messages can be counted.")
      : facts(found.map((/** @type {any} */ it) => [`Queue ${it.queue}`, count(it.messages)])),
    facts(
      signs.map((/** @type {any} */ it) => [
        it.is_late ? link(`Heard of ${it.name}`, it.link) : `Heard of ${it.name}`,
        it.at ? since(it.at) : "never",
        it.is_late ? "bad" : "",
      ]),
    ),
  ];
}

/** @param {any} answer */
export function webhooks({ span: { webhooks: it }, standing: { webhooks: now } }) {
  const missed = it && it.captured_by_webhook + it.missed ? it.missed / (it.captured_by_webhook + it.missed) : null;
  return [
    facts([
      ["Webhooks", now.is_silent ? "silent" : "coming in", now.is_silent ? "bad" : "good"],
      ["Last one", since(now.last_event_at)],
      ...(it ? /** @type {[string, string][]} */ (received(it, missed)) : []),
      ["Forged, ever", now.forged === null ? "Redis away" : count(now.forged)],
      ["Given up", count(now.given_up), now.given_up ? "bad" : ""],
    ]),
  ];
}

/** @param {any} it @param {number | null} missed @returns {[string, string][]} */
const received = (it, missed) => [
  ["Received, handled", `${count(it.received)}, ${count(it.handled)}`],
  ["From Razorpay to us, half / 95%", `${duration(it.delivery_p50)} / ${duration(it.delivery_p95)}`],
  ["From us to handled, half / 95%", `${duration(it.handling_p50)} / ${duration(it.handling_p95)}`],
  ["Money found by asking", `${count(it.missed)} · ${percent(missed)}`],
];

/** @param {any} standing */
export function money({ refunds, cases }) {
  return [
    titled("Refunds under way", refunds.link, refundRows(refunds)),
    titled("Open cases", cases.link, caseRows(cases)),
  ];
}

/** @param {string} title @param {string} href @param {Node} rows */
const titled = (title, href, rows) => make("div", {}, make("h3", {}, link(title, href)), rows);

/** @param {any} refunds */
const refundRows = ({ rows }) =>
  table(
    "Refunds under way",
    [
      { name: "Status", of: (row) => row.status },
      { name: "How many", isNumber: true, of: (row) => count(row.count) },
      { name: "Oldest", isNumber: true, of: (row) => since(row.oldest_at) },
    ],
    rows,
    "None.",
  );

/** @param {any} cases */
const caseRows = ({ rows }) =>
  table(
    "Open cases",
    [
      { name: "Kind", of: (row) => row.kind.replaceAll("_", " ") },
      { name: "How many", isNumber: true, of: (row) => count(row.count) },
      { name: "Oldest", isNumber: true, of: (row) => since(row.oldest_at) },
    ],
    rows,
    "No money needs a person.",
  );

/** @param {any} standing */
export function stock({ stock: it }) {
  return [
    facts([
      ["Held for unpaid orders", count(it.held_units)],
      ["Of these, by guests", count(it.held_by_guests)],
      ["Most at one address", count(it.held_at_one_address)],
      ["Refused for it in 15 minutes", count(it.refused_15m)],
      [
        "Past their end",
        `${count(it.overdue_units)} in ${count(it.overdue_holds)} checkouts`,
        it.overdue_holds ? "bad" : "",
      ],
    ]),
    table(
      "Most units held",
      [
        { name: "SKU", of: (row) => row.sku },
        { name: "What", of: (row) => row.name },
        { name: "Held", isNumber: true, of: (row) => count(row.held) },
        { name: "On hand", isNumber: true, of: (row) => count(row.on_hand) },
      ],
      it.top,
      "Nothing is held.",
    ),
  ];
}

/** @param {any} span */
export function carts({ carts: it }) {
  return [
    facts([
      ["Carts in use", `${count(it.active)}${it.is_capped ? "+" : ""}, ${count(it.of_guests)} of guests`],
      ["With something in them", count(it.filled)],
      ["Came to a checkout", `${count(it.posted)} · ${percent(it.posted_of_active)}`],
      ["Made within an hour / a day / earlier", `${count(it.within_hour)} / ${count(it.within_day)} / ${count(it.older)}`],
      ["POSTs of an empty cart", count(it.empty_attempts), it.empty_attempts ? "bad" : ""],
      ["POSTs of a cart that had changed", count(it.changed_attempts)],
      ["Stale copies reported", count(it.stale_reports)],
    ]),
    make("h3", {}, "Sessions whose storefront and server disagreed"),
    table(
      "Sessions whose storefront and server disagreed",
      [
        { name: "Session", of: (row) => `${row.is_guest ? "guest" : "account"} ${row.session}` },
        { name: "Cart", isNumber: true, of: (row) => (row.cart == null ? NOTHING : String(row.cart)) },
        { name: "Age", isNumber: true, of: (row) => since(row.created_at) },
        { name: "Units", isNumber: true, of: (row) => count(row.units) },
        { name: "Stale", isNumber: true, of: (row) => count(row.stale) },
        { name: "Refused", isNumber: true, of: (row) => count(row.refused) },
        { name: "Last", of: (row) => row.last_kind.replace(/^refused:/, "refused: ") },
        { name: "When", isNumber: true, of: (row) => since(row.last_at) },
        { name: "Checkout", of: (row) => row.checkout ?? NOTHING },
      ],
      it.sessions.slice(0, SESSIONS_SHOWN),
      "None in this range.",
    ),
  ];
}
