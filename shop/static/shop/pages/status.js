import { StorefrontError, cancelCheckout, pay, watchCheckout } from "../storefront.js";
import { showTerms, find, make, setText } from "./dom.js";
import { ignoreShopError } from "../storefront/session.js";
import { cart, session } from "./header.js";
import { STEPS, describe } from "./states.js";
import { clock, money } from "./words.js";

/** @typedef {import("../storefront/checkout.js").Checkout} Checkout */

const page = find("checkout");
const id = page.dataset.checkout;
const VISIT = `pakka.visit.${id}`;
const { storage } = session.parts;

/** @type {Checkout | null} */
let checkout = null;
/** @type {import("../storefront/payment.js").Failure | null} */
let failure = null;
/** @type {AbortController | null} while the form is open */
let form = null;
/** @type {import("../storefront/checkout.js").Watch} */
let watch;
let shown = "";

function show() {
  if (!checkout) return;
  const visit = form ? null : /** @type {any} */ (storage.getItem(VISIT));
  const words = describe(checkout, { visit, failure, nowMs: session.now });
  page.dataset.tone = words.tone;
  document.title = `${words.title} · Pakka Bazaar`;
  setText(find("title"), words.title);
  setText(find("message"), words.lead === undefined ? checkout.message : words.lead);
  setText(find("money"), words.money);
  setText(find("next"), words.next);
  showActions(words.actions);
  showTimeline(checkout.steps);
  showFacts(checkout);
}

/** Replaces the buttons only when they change, so that a poll loses no click and no focus.
 *  @param {[string, string][]} actions */
function showActions(actions) {
  const key = JSON.stringify([actions, form !== null]);
  if (key === shown) return;
  shown = key;
  const buttons = actions.map(([action, text], at) => {
    const className = at ? "button" : "button main";
    if (LINKS[action]) {
      return make("a", { className, href: LINKS[action](), textContent: text });
    }
    const button = make("button", { className, textContent: text, data: { action } });
    button.disabled = form !== null;
    button.addEventListener("click", HANDLERS[action]);
    return button;
  });
  const hadFocus = find("actions").contains(document.activeElement);
  find("actions").replaceChildren(...buttons);
  if (hadFocus) focusActions();
}

/** Keyboard users continue at the changed buttons, not at the top of the page. */
function focusActions() {
  (find("actions").querySelector("a, button:enabled") ?? find("title")).focus();
}

/** @type {Record<string, () => string>} */
const LINKS = {
  cart: () => "/cart/",
  again: () => "/checkout/",
  shop: () => "/",
  orders: () => "/orders/",
  order: () => `/orders/${checkout?.order.number}/`,
};

/** @type {Record<string, () => Promise<void>>} */
const HANDLERS = { pay: openForm, cancel };

async function openForm() {
  if (form || !checkout) return; // a double click must not open two forms
  form = new AbortController();
  failure = null;
  setText(find("failure"), null);
  storage.setItem(VISIT, "opened");
  show();
  try {
    const { outcome } = await pay(checkout, {
      name: "Pakka Bazaar",
      description: `Order ${checkout.order.number}`,
      signal: form.signal,
      onFailure: (reported) => {
        failure = reported;
      },
    });
    if (outcome === "returned") failure = null;
    if (outcome !== "closed") storage.setItem(VISIT, outcome);
  } catch (error) {
    storage.removeItem(VISIT);
    showError(error);
  } finally {
    form = null;
    show();
    focusActions();
    watch.pollNow();
  }
}

async function cancel() {
  try {
    checkout = await cancelCheckout(id);
    show();
  } catch (error) {
    showError(error);
  }
  watch.pollNow();
}

/** @param {unknown} error */
function showError(error) {
  if (!(error instanceof StorefrontError)) throw error;
  setText(find("failure"), error.message);
}

/** @param {{name: string, status: string, finished_at: string | null, error: string | null}[]} steps */
function showTimeline(steps) {
  const words = { done: "done", running: "now", waiting: "waiting", failed: "failed", pending: "" };
  find("timeline").replaceChildren(
    ...steps.map(({ name, status, finished_at: at }) => {
      const word = /** @type {Record<string, string>} */ (words)[status] ?? "";
      const time = status === "done" && at ? clock(at) : word;
      return make(
        "li",
        { data: { status } },
        make("span", {}, STEPS[name] ?? name),
        make("span", { className: "quiet" }, time),
      );
    }),
  );
}

/** @param {Checkout} now */
function showFacts({ order, amount_paise: paise }) {
  /** @type {[string, string][]} */
  const total = [["Total", money(paise)]];
  showTerms(find("facts"), order ? [["Order", order.number], ...total] : total);
}

/** @param {Checkout} now */
function change(now) {
  checkout = now;
  if (now.status !== "awaiting_payment") form?.abort(); // paid, although the form has not reported it
  if (now.poll.done) storage.removeItem(VISIT);
  if (now.status === "paid") cart.getCart(true).catch(ignoreShopError); // the bought items are no longer in it
  show();
}

/** @param {StorefrontError | null} error */
function showConnection(error) {
  const lost = "We cannot reach the shop at the moment. Your checkout continues without this page.";
  setText(find("trouble"), error && lost);
}

/** @param {unknown} error */
function showNotFound(error) {
  if (!(error instanceof StorefrontError)) throw error;
  page.dataset.tone = "bad";
  setText(find("trouble"), null);
  setText(find("title"), "We cannot show this checkout");
  setText(find("message"), "It was started in another browser or with another account.");
  setText(find("money"), "If you have paid for it, your money is safe.");
  setText(find("next"), "Sign in with that account, or open it in that browser.");
  shown = "";
  find("actions").replaceChildren(
    make("a", { className: "button main", href: "/sign-in/", textContent: "Sign in" }),
  );
}

function follow() {
  watch = watchCheckout(id, change, { onTrouble: showConnection });
  watch.done.catch(showNotFound);
}

// Late money can change a final status: poll again when the buyer returns to the page.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && checkout?.poll.done) follow();
});
follow();
