import { handleCartError } from "../storefront.js";
import { find, setText } from "./dom.js";
import { cart, session } from "./header.js";
import { counted, money } from "./words.js";

/** @type {Map<number, HTMLElement>} */
const rows = new Map();
const problem = /** @type {HTMLElement} */ (document.querySelector("main > [data-problem]"));

/** @param {import("../storefront/cart.js").Cart} now */
function show(now) {
  find("loading").hidden = true;
  find("empty").hidden = now.items.length > 0;
  find("basket").hidden = now.items.length === 0;
  showLines(now.items);
  setText(find("units"), counted(now.units_count, "item"));
  setText(find("total"), money(now.total_paise));
  const isBlocked = now.items.some((item) => item.problem);
  find("blocked").hidden = !isBlocked;
  const link = find("checkout");
  if (isBlocked) link.removeAttribute("href");
  else link.href = "/checkout/";
  link.setAttribute("aria-disabled", String(isBlocked));
}

/** Reuses the row elements, so that the focus is not lost.
 *  @param {import("../storefront/cart.js").CartItem[]} items */
function showLines(items) {
  for (const [id, row] of rows) {
    if (items.some((item) => item.id === id)) continue;
    if (row.contains(document.activeElement)) document.getElementById("main")?.focus();
    row.remove();
    rows.delete(id);
  }
  for (const item of items) {
    const row = rows.get(item.id) ?? newRow(item);
    setText(find("name", row), item.name);
    setText(find("each", row), `${money(item.unit_price_paise)} each`);
    setText(find("problem", row), item.problem);
    setText(find("line-total", row), money(item.line_total_paise));
    row.classList.toggle("bad", Boolean(item.problem));
    const quantity = find("quantity", row);
    if (document.activeElement !== quantity) quantity.value = String(item.quantity);
    quantity.setAttribute("aria-label", `Quantity of ${item.name}`);
  }
}

/** @param {import("../storefront/cart.js").CartItem} item */
function newRow({ id, name }) {
  const row = find("line").content.firstElementChild.cloneNode(true);
  const quantity = find("quantity", row);
  const remove = find("remove", row);
  remove.setAttribute("aria-label", `Remove ${name}`);
  remove.addEventListener("click", () => change(() => cart.removeItem(id)));
  quantity.addEventListener("change", () => {
    if (quantity.value !== "") change(() => cart.setQuantity(id, Number(quantity.value)));
  });
  rows.set(id, row);
  find("lines").append(row);
  return row;
}

/** @param {() => Promise<any>} make */
async function change(make) {
  setText(problem, null);
  try {
    show(await make());
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    setText(problem, message);
    await cart.getCart(true).then(show, () => handleCartError(error, session));
  }
}

find("clear").addEventListener("click", () => change(() => cart.clear()));
cart.addEventListener("change", (event) => show(/** @type {CustomEvent} */ (event).detail));
cart.getCart(true).then(show, (error) => {
  find("loading").hidden = true;
  setText(problem, error.message);
});
