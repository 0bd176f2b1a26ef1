/**
 * The texts of the status page for every state of a checkout: what happened, where the buyer's
 * money is, and what to do next. Pure functions, so that a test covers every state.
 *
 * @typedef {"pay" | "cancel" | "cart" | "again" | "order" | "shop" | "orders"} Action
 * @typedef {object} Description
 * @property {"wait" | "act" | "good" | "bad" | "safe"} tone
 * @property {string} title
 * @property {string | null} [lead] what happened; if left out, the server's message
 * @property {string} money where the buyer's money is
 * @property {string} next
 * @property {[Action, string][]} actions the first is the main action
 *
 * @typedef {"opened" | "returned" | "dismissed" | null} Visit the last event of the payment form in this browser
 * @typedef {import("../storefront/checkout.js").Checkout} Checkout
 * @typedef {import("../storefront/payment.js").Failure} Failure
 */

import { clock, money } from "./words.js";

/** @type {Record<string, string>} short texts for lists */
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
  in_review: "In review",
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
const MOVES_ON = "This takes a moment. The page updates by itself.";

/** @type {Record<string, Pick<Description, "next" | "actions">>} by error code */
const AFTER_FAILURE = {
  cart_empty: { next: "Add something to your cart and try again.", actions: [["shop", "Browse products"]] },
  cart_changed: { next: "Please check your cart and order again.", actions: SEE_CART },
  price_changed: {
    next: "Your cart shows the current prices. If you agree with them, order again.",
    actions: SEE_CART,
  },
  product_unavailable: {
    next: "Remove it from your cart to order the rest.",
    actions: [["cart", "Change the cart"]],
  },
  out_of_stock: {
    next: "Another buyer was faster. Reduce the quantity or remove the item, and order the rest.",
    actions: [["cart", "Change the cart"]],
  },
  amount_too_small: { next: "Add something to your cart.", actions: [["shop", "Browse products"]] },
};
/** @type {Pick<Description, "next" | "actions">} */
const TRY_AGAIN = {
  next: "Your cart is unchanged. Please try again in a minute.",
  actions: [["again", "Try again"], ...SEE_CART],
}; // prettier-ignore

/**
 * @param {Checkout} checkout
 * @param {{visit?: Visit, failure?: Failure | null, nowMs?: number}} [known] what only this
 *   page knows, and the server's time
 * @returns {Description}
 */
export function describe(checkout, { visit = null, failure = null, nowMs = 0 } = {}) {
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
        next: `Order ${checkout.order?.number ?? ""} is confirmed. We are packing it now.`,
        actions: [["order", "See the order"], ["shop", "Browse products"]],
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
        money: "If a payment still arrives, your money is safe: you get the items, or all of it back.",
        next: "Your cart is unchanged. If you have just ordered again, this is the earlier order.",
        actions: [...SEE_CART, ["orders", "Your orders"]],
      }; // prettier-ignore
    case "expired":
      return {
        tone: "bad",
        title: "The time to pay ran out",
        lead: "Your items are no longer set aside.",
        money: "No payment has reached us. If you did pay, your money is safe: you get your order, or all of it back.",
        next: "If you have paid, please do not pay again, and check this page later. If not, order again.",
        actions: [["again", "Order again"], ...SEE_CART],
      }; // prettier-ignore
    case "refunding":
      return {
        tone: "safe",
        title: "Your money is on its way back",
        money: "Your money is safe. It goes back the way you paid.",
        next: "Banks take five to seven working days. If you still want the items, order again.",
        actions: SEE_CART,
      };
    case "refunded":
      return {
        tone: "safe",
        title: "Refunded",
        money: "Your money was sent back the way you paid.",
        next: "If your bank does not show it within seven working days, write to us and name this checkout.",
        actions: SEE_CART,
      };
    case "in_review":
      return {
        tone: "safe",
        title: `We are checking your ${checkout.refund ? "refund" : "payment"}`,
        money: "Your money is safe. It has reached us: you get your order, or your money back.",
        next: "Please do not pay again. Our staff are checking it and will write to you.",
        actions: [["orders", "Your orders"]],
      };
    default: // a status that is newer than this page
      return { tone: "wait", title: checkout.message, money: "", next: "", actions: [] };
  }
}

/** @param {string} title @returns {Description} */
function wait(title) {
  return { tone: "wait", title, money: "Nothing has been charged.", next: MOVES_ON, actions: [] };
}

/** @param {Checkout} checkout @returns {Description} */
function outOfTime({ message }) {
  return {
    tone: "wait",
    title: "The time to pay is over",
    lead: message,
    money: "If you have paid, your money is safe: you get the items, or all of it back.",
    next: "We are checking with the bank once more. The page updates by itself. Please do not pay now.",
    actions: [],
  };
}

/** @param {Checkout} checkout @param {Visit} visit @param {Failure | null} failure @returns {Description} */
function awaiting(checkout, visit, failure) {
  const held = `Your items are set aside until ${clock(checkout.payment?.expires_at)}.`;
  const sum = money(checkout.amount_paise);
  const paying = checkout.steps.find((/** @type {any} */ step) => step.name === PAYING);
  if (visit === "returned" || paying?.status === "running") {
    return {
      tone: "wait",
      title: "Confirming your payment",
      lead: null,
      money: "Your money is safe: you get this order, or your money back.",
      next: "Please do not pay again. You may close this page; your orders show the result.",
      actions: [["orders", "Your orders"]],
    };
  }
  const unpaid = failure ?? checkout.payment?.last_error;
  if (unpaid) {
    return {
      tone: "act",
      title: "That payment did not go through",
      lead: unpaid.message,
      money: "No money has reached us. If your bank has debited it, it is safe and comes back to you.",
      next: `${held} Try again, or choose another way to pay.`,
      actions: [["pay", `Try again: ${sum}`], ["cancel", "Cancel this order"]],
    }; // prettier-ignore
  }
  if (visit) {
    return {
      tone: "act",
      title: "Not paid yet",
      lead: null,
      money: "No payment has reached us so far. If you have approved one, your money is safe, and this page will show it.",
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
