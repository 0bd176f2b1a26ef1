import { StorefrontError, cancelCheckout, pay, watchCheckout } from "../storefront.js";
import { find, make, tell } from "./dom.js";
import { cart, leave, session } from "./header.js";
import { STEPS, told } from "./states.js";
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
  const words = told(checkout, { visit, failure, nowMs: session.now });
  page.dataset.tone = words.tone;
  document.title = `${words.title} · Pakka Bazaar`;
  tell(find("title"), words.title);
  tell(find("message"), words.lead === undefined ? checkout.message : words.lead);
  tell(find("money"), words.money);
  tell(find("next"), words.next);
  showActions(words.actions);
  showTimeline(checkout.steps);
  showFacts(checkout);
}

/** Made anew only when they change, so that a click or the focus is not lost to a poll.
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
    button.addEventListener("click", DEEDS[action]);
    return button;
  });
  const hadFocus = find("actions").contains(document.activeElement);
  find("actions").replaceChildren(...buttons);
  if (hadFocus) takeReaderToActions();
}

/** Who works without a mouse goes on where the buttons changed, not at the top of the page. */
function takeReaderToActions() {
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
const DEEDS = { pay: openForm, cancel };

async function openForm() {
  if (form || !checkout) return; // a double click opens one form
  form = new AbortController();
  failure = null;
  tell(find("failure"), null);
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
    refuse(error);
  } finally {
    form = null;
    show();
    takeReaderToActions();
    watch.look();
  }
}

async function cancel() {
  try {
    checkout = await cancelCheckout(id);
    show();
  } catch (error) {
    refuse(error);
  }
  watch.look();
}

/** @param {unknown} error */
function refuse(error) {
  if (!(error instanceof StorefrontError)) throw error;
  tell(find("failure"), error.message);
}

/** @param {{name: string, status: string, finished_at: string | null, error: string | null}[]} steps */
function showTimeline(steps) {
  const inWords = { done: "done", running: "now", waiting: "waiting", failed: "failed", pending: "" };
  find("timeline").replaceChildren(
    ...steps.map(({ name, status, finished_at: at }) => {
      const word = /** @type {Record<string, string>} */ (inWords)[status] ?? "";
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
  const facts = [
    ["Order", order?.number],
    ["Total", money(paise)],
  ];
  find("facts").replaceChildren(
    ...facts
      .filter(([, value]) => value)
      .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

/** @param {Checkout} now */
function change(now) {
  checkout = now;
  if (now.status !== "awaiting_payment") form?.abort(); // paid, though the form has not heard of it
  if (now.poll.done) storage.removeItem(VISIT);
  if (now.status === "paid") cart.getCart(true).catch(leave); // what was bought has left it
  show();
}

/** @param {StorefrontError | null} error */
function trouble(error) {
  const lost =
    "We cannot reach the shop just now, and keep trying. Your checkout goes on without this page:" +
    " nothing is lost, and nothing is charged twice.";
  tell(find("trouble"), error && lost);
}

/** @param {unknown} error */
function stranger(error) {
  if (!(error instanceof StorefrontError)) throw error;
  page.dataset.tone = "bad";
  tell(find("trouble"), null);
  tell(find("title"), "We cannot show this checkout");
  tell(find("message"), "It was made in another browser, or by another account.");
  tell(find("money"), "If you have paid for it, your money is safe.");
  tell(find("next"), "Sign in with the account that made it, or open it in the browser you used.");
  shown = "";
  find("actions").replaceChildren(
    make("a", { className: "button main", href: "/sign-in/", textContent: "Sign in" }),
  );
}

function follow() {
  watch = watchCheckout(id, change, { onTrouble: trouble });
  watch.done.catch(stranger);
}

// What has ended can still change, when money comes late: look again when the buyer does.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && checkout?.poll.done) follow();
});
follow();
