import { showTerms, find, itemOf, make, setText } from "./dom.js";
import { session } from "./header.js";
import { BADGES, describe } from "./states.js";
import { addressLines, day, money } from "./words.js";

const { order: number } = find("order").dataset;

/** @param {any} order */
function show(order) {
  const badge = find("badge");
  badge.dataset.status = order.status;
  setText(badge, BADGES[order.status] ?? order.status);
  setText(find("sentence"), sentenceOf(order));
  find("to-status").href = `/checkout/${order.checkout_id}`;
  find("to-status").hidden = order.status === "paid";
  find("lines").replaceChildren(
    ...order.lines.map((/** @type {any} */ line) => itemOf(line, money(line.line_total_paise))),
  );
  setText(find("total"), money(order.amount_paise));
  const lines = addressLines(order.shipping_address);
  find("address").replaceChildren(...lines.flatMap((line) => [line, make("br")]));
  showTerms(find("facts"), [
    ["Ordered", day(order.created_at)],
    ["Paid", order.paid_at ? day(order.paid_at) : "not yet"],
  ]);
  find("found").hidden = false;
}

/** @param {any} order */
function sentenceOf(order) {
  if (order.status === "awaiting_payment") return "Your items are set aside. Open the checkout to pay or to see your payment.";
  return describe({ ...order, order }).money; // prettier-ignore
}

session
  .request("GET", `orders/${number}/`)
  .then(({ content }) => show(content))
  .catch((error) => {
    const isUnknown = error.status === 404 || error.status === 401;
    const notFound = "You have no such order. Sign in with the account that placed it.";
    setText(find("problem"), isUnknown ? notFound : error.message);
  })
  .finally(() => (find("loading").hidden = true));
