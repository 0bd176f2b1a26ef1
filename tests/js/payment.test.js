import assert from "node:assert/strict";
import { test } from "node:test";

import { pay } from "../../shop/static/shop/storefront.js";
import { answer, checkoutOf, inTurn, lost, open, refusal, settled } from "./parts.js";

const CONFIRM = "POST checkouts/c-1/confirm/";
const RECEIPT = {
  razorpay_payment_id: "pay_1",
  razorpay_order_id: "order_1",
  razorpay_signature: "s",
};
const DECLINED = { error: { code: "BAD_REQUEST_ERROR", reason: "declined", description: "No." } };

const payable = (clock) =>
  checkoutOf("awaiting_payment", {
    payment: {
      key_id: "rzp_test_1",
      razorpay_order_id: "order_1",
      amount: 34900,
      currency: "INR",
      prefill: { name: "Asha Rao" },
      expires_at: new Date(clock.nowMs + 900_500).toISOString(),
    },
  });

/** A page whose buyer does in the form what the test does with `form`. */
function till() {
  const form = { listeners: {}, isOpen: false };
  class Razorpay {
    constructor(options) {
      form.options = options;
    }
    on(event, listener) {
      form.listeners[event] = listener;
    }
    open() {
      form.isOpen = true;
    }
    close() {
      form.isOpen = false;
      form.options.modal.ondismiss(); // as the real one does
    }
  }
  const parts = open({ razorpay: () => Razorpay });
  parts.server.answers[CONFIRM] = () => answer(202, checkoutOf("awaiting_payment"));
  return { ...parts, form, checkout: payable(parts.clock) };
}

test("the form opens with the payment of the status, until the hold expires", async () => {
  const { session, form, checkout } = till();

  pay(checkout, { name: "Pakka Bazaar" }, session);

  const { handler: _handler, modal: _modal, ...options } = form.options;
  assert.deepEqual(options, {
    name: "Pakka Bazaar",
    key: "rzp_test_1",
    order_id: "order_1",
    amount: 34900,
    currency: "INR",
    prefill: { name: "Asha Rao" },
    timeout: 900,
  });
});

test("the receipt of a successful form is confirmed", async () => {
  const { session, server, form, checkout } = till();
  const paying = pay(checkout, {}, session);

  form.options.handler(RECEIPT);

  assert.deepEqual(await paying, { outcome: "returned", failure: null, error: null });
  assert.deepEqual(server.to(CONFIRM)[0].body, RECEIPT);
});

test("a lost confirmation is repeated", async () => {
  const { session, server, clock, form, checkout } = till();
  server.answers[CONFIRM] = inTurn(lost, () => answer(202, {}));
  const paying = pay(checkout, {}, session);

  form.options.handler(RECEIPT);
  await clock.advance(5_000);

  assert.equal((await paying).error, null);
  assert.equal(server.to(CONFIRM).length, 2);
});

test("an unreachable shop is not a failed payment", async () => {
  const { session, server, form, checkout } = till();
  server.answers[CONFIRM] = () => refusal(400, "signature_invalid");
  const paying = pay(checkout, {}, session);

  form.options.handler(RECEIPT);

  const { outcome, error } = await paying;
  assert.equal(outcome, "returned");
  assert.equal(error.code, "signature_invalid");
});

test("a failed attempt is reported, and the same form can still succeed", async () => {
  const { session, form, checkout } = till();
  const failures = [];
  const paying = pay(checkout, { onFailure: (it) => failures.push(it) }, session);

  form.listeners["payment.failed"](DECLINED);
  form.options.handler(RECEIPT);

  const failure = { code: "BAD_REQUEST_ERROR", reason: "declined", message: "No." };
  assert.deepEqual(failures, [failure]);
  assert.equal((await paying).outcome, "returned");
});

test("a closed form returns the last failure", async () => {
  const { session, form, checkout } = till();
  const paying = pay(checkout, {}, session);

  form.listeners["payment.failed"](DECLINED);
  form.options.modal.ondismiss();

  const { outcome, failure } = await paying;
  assert.deepEqual([outcome, failure.message], ["dismissed", "No."]);
});

test("the signal closes the form", async () => {
  const { session, form, checkout } = till();
  const controller = new AbortController();
  const paying = pay(checkout, { signal: controller.signal }, session);
  await settled();

  controller.abort();

  assert.equal((await paying).outcome, "closed");
  assert.equal(form.isOpen, false);
});

test("without Razorpay's script there is an error instead of a form", async () => {
  const { session, clock } = open();

  await assert.rejects(pay(payable(clock), {}, session), {
    code: "form_unavailable",
    retryable: true,
    message: /Nothing was charged/,
  });
});

test("a checkout that is not payable opens no form", async () => {
  const { session, form, checkout } = till();
  const expired = { ...checkout, status: "expired" };

  await assert.rejects(pay(expired, {}, session), { code: "not_payable" });
  await assert.rejects(pay(checkoutOf("awaiting_payment"), {}, session), { code: "not_payable" });

  assert.equal(form.isOpen, false);
});
