import assert from "node:assert/strict";
import { test } from "node:test";

import { addressError } from "../../shop/static/shop/pages/address.js";
import { BADGES, describe } from "../../shop/static/shop/pages/states.js";
import { money } from "../../shop/static/shop/pages/words.js";
import { checkoutOf } from "./parts.js";

const AT = Date.UTC(2026, 10, 22, 6, 30);
const payable = (rest = {}) =>
  checkoutOf("awaiting_payment", {
    payment: { expires_at: new Date(AT + 900_000).toISOString(), last_error: null },
    ...rest,
  });
const failed = (code) => checkoutOf("failed", { error: { code } });
const actions = (words) => words.actions.map(([action]) => action);

const ENDS = ["failed", "cancelled", "expired", "refunding", "refunded", "in_review", "paid"];

for (const status of Object.keys(BADGES)) {
  test(`in the state ${status}, the buyer reads where the money is and what to do next`, () => {
    const checkout = status === "awaiting_payment" ? payable() : checkoutOf(status);

    const words = describe(checkout, { nowMs: AT });

    assert.ok(words.title);
    assert.match(words.money, /charged|money|received|paid/i);
    assert.ok(words.next.length > 10);
    if (ENDS.includes(status)) assert.notEqual(words.actions.length, 0);
  });
}

test("an unknown status shows the server's message", () => {
  assert.equal(describe(checkoutOf("on_the_moon", { message: "It flies." })).title, "It flies.");
});

test("a late payment is explained, a payment in time is not", () => {
  const message = "Your payment arrived after you cancelled; your order is confirmed.";

  assert.equal(describe(checkoutOf("paid", { message, paid_late: true })).lead, message);
  assert.equal(describe(checkoutOf("paid", { message, paid_late: false })).lead, null);
});

test("a failed refund shows the server's message, without a promise that it was sent", () => {
  const words = describe(checkoutOf("in_review", { refund: { status: "failed" } }));

  assert.equal(words.lead, undefined);
  assert.match(words.title, /refund/);
  assert.doesNotMatch(words.money + words.next, /sent|way back/);
});

test("only a payable checkout offers the payment", () => {
  const offering = Object.keys(BADGES).filter((status) =>
    actions(describe(status === "awaiting_payment" ? payable() : checkoutOf(status), { nowMs: AT })).includes("pay"),
  );

  assert.deepEqual(offering, ["awaiting_payment"]);
});

test("after a payment the page asks not to pay again", () => {
  const words = describe(payable(), { visit: "returned", nowMs: AT });

  assert.ok(!actions(words).includes("pay"));
  assert.match(words.next, /do not pay again/);
});

test("a failed payment shows the reason and offers another try", () => {
  const shown = describe(payable(), { failure: { message: "Declined by the bank." }, nowMs: AT });
  const reloaded = describe(
    payable({ payment: { ...payable().payment, last_error: { message: "Declined by the bank." } } }),
    { nowMs: AT },
  );

  assert.equal(shown.lead, "Declined by the bank.");
  assert.deepEqual(reloaded, shown);
  assert.equal(shown.actions[0][0], "pay");
});

test("after the form was closed the page offers the payment, and says that a payment would be noticed", () => {
  const words = describe(payable(), { visit: "dismissed", nowMs: AT });

  assert.equal(words.actions[0][0], "pay");
  assert.match(words.money, /your money is safe/);
});

test("after the time to pay the page offers no payment", () => {
  const words = describe(payable(), { nowMs: AT + 900_000 });

  assert.deepEqual(words.actions, []);
  assert.match(words.next, /do not pay now/);
});

test("each failure offers the matching action", () => {
  const first = (code) => describe(failed(code)).actions[0][0];

  assert.equal(first("out_of_stock"), "cart");
  assert.equal(first("price_changed"), "cart");
  assert.equal(first("gateway_unavailable"), "again");
  assert.equal(first("a_code_of_tomorrow"), "again");
});

test("PIN codes and phone numbers may have spaces and dashes", () => {
  for (const pin of ["560001", "560 001", " 560-001 "]) assert.equal(addressError("postal_code", pin), null);
  for (const phone of ["9845012345", "98450 12345", "+91 98450-12345", "098450 12345"])
    assert.equal(addressError("phone", phone), null);
});

test("invalid and missing values have different errors", () => {
  for (const pin of ["56001", "056001", "5600011", "abcdef"]) assert.match(addressError("postal_code", pin), /six/);
  for (const phone of ["12345", "1845012345", "98450123456"]) assert.match(addressError("phone", phone), /ten/);
  assert.match(addressError("phone", " "), /needs/);
  assert.equal(addressError("line2", ""), null);
});

test("money is grouped as in India", () => {
  assert.equal(money(12248896), "₹1,22,488.96");
  assert.equal(money(129900), "₹1,299");
});
