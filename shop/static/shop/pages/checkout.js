import { StorefrontError, processCheckout } from "../storefront.js";
import { addressError } from "./address.js";
import { find, itemOf, make, setText } from "./dom.js";
import { mark, summarise } from "./form-errors.js";
import { cart } from "./header.js";
import { money } from "./words.js";

const form = /** @type {HTMLFormElement} */ (find("form"));
const summary = find("problem");
const submit = find("submit");
const same = find("same");
const billing = find("billing");

/** @param {import("../storefront/cart.js").Cart} now */
function show(now) {
  find("empty").hidden = now.items.length > 0;
  find("basket").hidden = now.items.length === 0;
  setText(find("total"), money(now.total_paise));
  find("brief").replaceChildren(
    ...now.items.map((item) =>
      itemOf(
        item,
        money(item.line_total_paise),
        ...(item.problem ? [make("span", { className: "stock" }, item.problem)] : []),
      ),
    ),
  );
}

/** @returns {HTMLInputElement[]} the enabled fields */
const fields = () =>
  /** @type {HTMLInputElement[]} */ ([...form.elements]).filter(
    (input) => input.name && !input.matches("fieldset:disabled *"),
  );

/** @param {HTMLInputElement} input */
const errorOf = (input) => addressError(input.name.split(".")[1], input.value);

/** @param {string} part shipping or billing @returns {any} */
function address(part) {
  const of = fields().filter((input) => input.name.startsWith(`${part}.`));
  return Object.fromEntries(of.map((input) => [input.name.split(".")[1], input.value.trim()]));
}

/** The errors that only the server found, with their fields.
 *  @param {Record<string, Record<string, string[]>>} named @returns {[HTMLInputElement, string][]} */
function serverErrors(named) {
  return fields().flatMap((input) => {
    const [part, field] = input.name.split(".");
    const sentence = named[`${part}_address`]?.[field]?.[0];
    return sentence ? [/** @type {[HTMLInputElement, string]} */ ([input, sentence])] : [];
  });
}

async function post() {
  const { id } = await processCheckout(
    address("shipping"),
    same.checked ? null : address("billing"),
  );
  location.assign(`/checkout/${id}`);
}

/** @param {unknown} error */
function showError(error) {
  if (!(error instanceof StorefrontError)) throw error;
  const paying = error.code === "payment_in_progress" && error.details.checkout_id;
  const nothing = paying
    ? "Nothing new was ordered. "
    : error.retryable
      ? "If your order reached us, sending it again does not order twice."
      : "Nothing was ordered and nothing was charged.";
  summarise(summary, `${error.message} ${nothing}`, serverErrors(error.details?.fields ?? {}));
  if (paying) summary.append(make("a", { href: `/checkout/${paying}`, textContent: "See the payment" }));
  if (error.details?.cart) show(error.details.cart);
}

/** @param {boolean} isBusy */
function setBusy(isBusy) {
  submit.disabled = isBusy;
  submit.textContent = isBusy ? "Placing …" : "Place the order";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  setText(summary, null);
  const invalid = /** @type {[HTMLInputElement, string][]} */ (
    fields()
      .map((input) => [input, errorOf(input)])
      .filter(([, sentence]) => sentence)
  );
  if (invalid.length) return summarise(summary, "Please correct these fields:", invalid);
  setBusy(true);
  try {
    await post();
  } catch (error) {
    setBusy(false);
    showError(error);
  }
});

// An error appears when the buyer leaves the field, and disappears as soon as it is corrected.
form.addEventListener("focusout", ({ target }) => {
  const input = /** @type {HTMLInputElement} */ (target);
  if (input.name && input.value) mark(input, errorOf(input));
});
form.addEventListener("input", ({ target }) => {
  const input = /** @type {HTMLInputElement} */ (target);
  if (input.ariaInvalid === "true" && !errorOf(input)) mark(input, null);
});
same.addEventListener("change", () => {
  billing.hidden = billing.disabled = same.checked;
});
addEventListener("pageshow", () => setBusy(false)); // the back button restores the page as it was

cart.addEventListener("change", (event) => show(/** @type {CustomEvent} */ (event).detail));
cart.getCart(true).then(show, showError);
