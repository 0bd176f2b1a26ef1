/**
 * Razorpay's form, opened with what the status of a checkout gives.
 *
 * @typedef {import("./checkout.js").Checkout} Checkout
 * @typedef {{code: string, reason: string, message: string}} Failure of one attempt, in words of
 *   the bank; another attempt on the same order may follow
 * @typedef {{outcome: "returned" | "dismissed" | "closed", failure: Failure | null,
 *   error: StorefrontError | null}} Outcome `returned`: the buyer has paid, says the form, and the
 *   shop is asking (`error`: it could not be told, and will find out by itself); `dismissed`: the
 *   buyer closed it, or its time ran out; `closed`: by `signal`. None of them says what became of
 *   money: only the status does.
 * @typedef {{razorpay_payment_id: string, razorpay_order_id: string,
 *   razorpay_signature: string}} Receipt
 */

import { StorefrontError, here, insistently } from "./session.js";

/**
 * Let the buyer pay. Keep watching meanwhile: a form may never be heard of again.
 *
 * @param {Checkout} checkout awaiting payment
 * @param {{name?: string, description?: string, onFailure?: (failure: Failure) => void,
 *   signal?: AbortSignal}} [options] `onFailure`: an attempt failed and the form offers another
 * @returns {Promise<Outcome>}
 * @throws {StorefrontError} the form cannot be opened
 */
export async function pay(checkout, options = {}, session = here()) {
  const Razorpay = session.parts.razorpay();
  if (!checkout.payment || checkout.status !== "awaiting_payment") {
    const message = "This checkout cannot be paid now.";
    throw new StorefrontError({ code: "not_payable", message });
  }
  if (!Razorpay) {
    const message =
      "The payment form could not be loaded. Nothing was charged. Please check your connection and" +
      " try again.";
    throw new StorefrontError({ code: "form_unavailable", message, retryable: true });
  }
  const { signal, onFailure = () => {}, ...texts } = options;
  /** @type {Failure | null} */
  let failure = null;
  const { payment } = checkout;
  /** @type {Receipt | "dismissed" | "closed"} */
  const outcome = await new Promise((resolve) => {
    const form = new Razorpay({
      ...texts,
      ...formOptions(payment, session.now),
      handler: (/** @type {Receipt} */ receipt) => resolve(receipt),
      modal: { ondismiss: () => resolve("dismissed") },
    });
    form.on("payment.failed", (/** @type {{error: any}} */ { error }) => {
      failure = { code: error.code, reason: error.reason, message: error.description };
      onFailure(failure);
    });
    signal?.addEventListener("abort", () => {
      resolve("closed"); // before it: closing is told as a dismissal
      form.close();
    });
    form.open();
  });
  if (typeof outcome === "string") return { outcome, failure, error: null };
  return { outcome: "returned", failure: null, error: await confirm(checkout.id, outcome, session) };
}

/** @param {Record<string, any>} payment @param {number} nowMs */
function formOptions(payment, nowMs) {
  const leftSeconds = Math.floor((Date.parse(payment.expires_at) - nowMs) / 1000);
  return {
    key: payment.key_id,
    order_id: payment.razorpay_order_id,
    amount: payment.amount,
    currency: payment.currency,
    prefill: payment.prefill,
    ...(leftSeconds > 0 && { timeout: leftSeconds }), // whether it is up, only the server says
  };
}

/** Hand over what the form gave. @param {string} id @param {Receipt} receipt
 *  @param {import("./session.js").Session} session @returns {Promise<StorefrontError | null>} */
async function confirm(id, receipt, session) {
  try {
    const ask = () => session.request("POST", `checkouts/${id}/confirm/`, { body: receipt });
    await insistently(ask, session);
    return null;
  } catch (error) {
    if (error instanceof StorefrontError) return error;
    throw error;
  }
}
