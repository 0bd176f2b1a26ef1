/**
 * What the buyer is told in every state of a checkout: what happened, where their money is, and
 * what to do next. Pure, so that every state has a test.
 *
 * @typedef {"pay" | "cancel" | "cart" | "again" | "order" | "shop" | "orders"} Action
 * @typedef {object} Told
 * @property {"wait" | "act" | "good" | "bad" | "safe"} tone
 * @property {string} title
 * @property {string | null} [lead] what happened; left out: what the server says
 * @property {string} money where the buyer's money is
 * @property {string} next
 * @property {[Action, string][]} actions the first is the main one
 *
 * @typedef {"opened" | "returned" | "dismissed" | null} Visit what this browser knows of the form
 * @typedef {import("../storefront/checkout.js").Checkout} Checkout
 * @typedef {import("../storefront/payment.js").Failure} Failure
 */

import { clock, money } from "./words.js";

/** @type {Record<string, string>} in a word or two, for lists */
export const BADGES = {
  queued: "Being checked",
  processing: "Being prepared",
  awaiting_payment: "To be paid",
  paid: "Paid",
  failed: "Not placed",
  cancelled: "Cancelled",
  expired: "Expired",
  refunding: "Refund on its way",
  refunded: "Refunded",
  in_review: "Being looked into",
};

/** @type {Record<string, string>} */
export const STEPS = {
  validate_cart: "Checking your cart",
  create_order: "Setting your items aside",
  create_razorpay_order: "Getting the payment ready",
  reconcile_payment: "Payment",
};

const PAYING = "reconcile_payment";
/** @type {[Action, string][]} */
const SEE_CART = [["cart", "See the cart"]];
const NOTHING = "Nothing was charged.";
const MOVES_ON = "This takes a moment, and the page moves on by itself.";

/** @type {Record<string, Pick<Told, "next" | "actions">>} by the code of the failure */
const AFTER_FAILURE = {
  cart_empty: { next: "Put something in your cart and try again.", actions: [["shop", "Look around"]] },
  cart_changed: { next: "Please look at your cart and order again.", actions: SEE_CART },
  price_changed: {
    next: "Your cart shows the prices of now. If they suit you, order again.",
    actions: SEE_CART,
  },
  product_unavailable: {
    next: "Take it out of your cart, and the rest can be ordered.",
    actions: [["cart", "Change the cart"]],
  },
  out_of_stock: {
    next: "Somebody was faster. Take fewer of it, or take it out, and order the rest.",
    actions: [["cart", "Change the cart"]],
  },
  amount_too_small: { next: "Add something to your cart.", actions: [["shop", "Look around"]] },
};
/** @type {Pick<Told, "next" | "actions">} */
const TRY_AGAIN = {
  next: "Your cart is as it was. Please try again in a minute.",
  actions: [["again", "Try again"], ...SEE_CART],
}; // prettier-ignore

/**
 * @param {Checkout} checkout
 * @param {{visit?: Visit, failure?: Failure | null, nowMs?: number}} [known] what this page knows
 *   beside, with the time at the server
 * @returns {Told}
 */
export function told(checkout, { visit = null, failure = null, nowMs = 0 } = {}) {
  const sum = money(checkout.amount_paise);
  switch (checkout.status) {
    case "queued":
      return wait("We have your order");
    case "processing":
      return wait(checkout.step === "create_order" ? "Setting your items aside" : "Almost ready");
    case "awaiting_payment":
      return Date.parse(checkout.payment?.expires_at) <= nowMs
        ? outOfTime(checkout)
        : awaiting(checkout, visit, failure);
    case "paid":
      return {
        tone: "good",
        title: "Paid. Thank you!",
        lead: checkout.refund || checkout.paid_late ? checkout.message : null,
        money: `We have received your ${sum}.`,
        next: `Order ${checkout.order?.number ?? ""} is confirmed. We pack it now.`,
        actions: [["order", "See the order"], ["shop", "Look around"]],
      }; // prettier-ignore
    case "failed":
      return {
        tone: "bad",
        title: "We could not place this order",
        money: NOTHING,
        ...(AFTER_FAILURE[checkout.error?.code] ?? TRY_AGAIN),
      };
    case "cancelled":
      return {
        tone: "bad",
        title: "Cancelled",
        money: "Should a payment still arrive, your money is safe: you get the items, or all of it back.",
        next: "Your cart is as it was. If you have just ordered again, this is the earlier try.",
        actions: [...SEE_CART, ["orders", "Your orders"]],
      }; // prettier-ignore
    case "expired":
      return {
        tone: "bad",
        title: "The time to pay ran out",
        lead: "Your items are no longer set aside.",
        money: "No payment has reached us. If you did pay, your money is safe: you get your order, or all of it back.",
        next: "If you have paid, please do not pay again, and look here later. If not, order again.",
        actions: [["again", "Order again"], ...SEE_CART],
      }; // prettier-ignore
    case "refunding":
      return {
        tone: "safe",
        title: "Your money is on its way back",
        money: "Your money is safe. It goes back to where it came from.",
        next: "Banks take five to seven working days. If you still want the items, order again.",
        actions: SEE_CART,
      };
    case "refunded":
      return {
        tone: "safe",
        title: "Refunded",
        money: "Your money is back where it came from.",
        next: "If your bank does not show it in seven working days, write to us and name this checkout.",
        actions: SEE_CART,
      };
    case "in_review":
      return {
        tone: "safe",
        title: `We are looking into your ${checkout.refund ? "refund" : "payment"}`,
        money: "Your money is safe. It reached us, and it becomes your order or goes back to you.",
        next: "Please do not pay again. A person is looking at it and will write to you.",
        actions: [["orders", "Your orders"]],
      };
    default: // of a shop newer than this page
      return { tone: "wait", title: checkout.message, money: "", next: "", actions: [] };
  }
}

/** @param {string} title @returns {Told} */
function wait(title) {
  return { tone: "wait", title, money: "Nothing has been charged.", next: MOVES_ON, actions: [] };
}

/** @param {Checkout} checkout @returns {Told} */
function outOfTime({ message }) {
  return {
    tone: "wait",
    title: "The time to pay is over",
    lead: message,
    money: "If you have paid, your money is safe: you get the items, or all of it back.",
    next: "We ask the bank once more, and the page moves on by itself. Please do not pay now.",
    actions: [],
  };
}

/** @param {Checkout} checkout @param {Visit} visit @param {Failure | null} failure @returns {Told} */
function awaiting(checkout, visit, failure) {
  const held = `Your items are set aside until ${clock(checkout.payment?.expires_at)}.`;
  const sum = money(checkout.amount_paise);
  const paying = checkout.steps.find((/** @type {any} */ step) => step.name === PAYING);
  if (visit === "returned" || paying?.status === "running") {
    return {
      tone: "wait",
      title: "Confirming your payment",
      lead: null,
      money: "Your money is safe: what has left your account becomes this order, or comes back.",
      next: "Please do not pay again. You may close this page; your orders will tell.",
      actions: [["orders", "Your orders"]],
    };
  }
  const unpaid = failure ?? checkout.payment?.last_error;
  if (unpaid) {
    return {
      tone: "act",
      title: "That payment did not go through",
      lead: unpaid.message,
      money: "No money has reached us. If your bank shows it as taken, it is safe: it comes back to you.",
      next: `${held} Try again, another way if you like.`,
      actions: [["pay", `Try again: ${sum}`], ["cancel", "Cancel this order"]],
    }; // prettier-ignore
  }
  if (visit) {
    return {
      tone: "act",
      title: "Not paid yet",
      lead: null,
      money: "No payment has reached us so far. If you have approved one, your money is safe: we notice it here by ourselves.",
      next: `${held} If you have not paid, pay now.`,
      actions: [["pay", `Pay ${sum}`], ["cancel", "Cancel this order"]],
    }; // prettier-ignore
  }
  return {
    tone: "act",
    title: "Ready to pay",
    lead: null,
    money: "Nothing has been charged yet.",
    next: held,
    actions: [["pay", `Pay ${sum}`], ["cancel", "Cancel this order"]],
  }; // prettier-ignore
}
