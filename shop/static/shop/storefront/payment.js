/**
 * Razorpay's payment form, opened with the `payment` of a checkout's status.
 *
 * @typedef {import("./checkout.js").Checkout} Checkout
 * @typedef {{code: string, reason: string, message: string}} Failure of one attempt, with the
 *   bank's message; the buyer can try again on the same order
 * @typedef {{outcome: "returned" | "dismissed" | "closed", failure: Failure | null,
 *   error: StorefrontError | null}} Outcome `returned`: the form reports a payment, and the shop
 *   checks it (`error`: the shop could not be reached, and will find the payment by polling);
 *   `dismissed`: the buyer closed the form, or it timed out; `closed`: by `signal`. Only the status
 *   of the checkout says whether money arrived.
 * @typedef {{razorpay_payment_id: string, razorpay_order_id: string,
 *   razorpay_signature: string}} Receipt
 */

import { StorefrontError, here, withRetries } from "./session.js";

/**
 * Open the payment form. Keep watching the checkout, because the form may never report back.
 *
 * @param {Checkout} checkout awaiting payment
 * @param {{name?: string, description?: string, onFailure?: (failure: Failure) => void,
 *   signal?: AbortSignal}} [options] `onFailure`: an attempt failed, and the buyer can try again in the form
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
      resolve("closed"); // before `close()`, which calls `ondismiss`
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
    ...(leftSeconds > 0 && { timeout: leftSeconds }), // only the server decides whether the time is up
  };
}

/** Send the form's receipt to the shop. @param {string} id @param {Receipt} receipt
 *  @param {import("./session.js").Session} session @returns {Promise<StorefrontError | null>} */
async function confirm(id, receipt, session) {
  try {
    const post = () => session.request("POST", `checkouts/${id}/confirm/`, { body: receipt });
    await withRetries(post, session);
    return null;
  } catch (error) {
    if (error instanceof StorefrontError) return error;
    throw error;
  }
}
