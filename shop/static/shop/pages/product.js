import { find, make } from "./dom.js";
import { cart } from "./header.js";
import { counted } from "./words.js";

const form = find("add");
const result = find("result", form);
const button = form.querySelector("button");

async function add() {
  const { variant, quantity } = Object.fromEntries(new FormData(form));
  const now = await cart.addItem(Number(form.dataset.product), Number(variant), Number(quantity));
  const line = now.items.find((item) => item.variant_id === Number(variant));
  const units = counted(now.units_count, "item");
  result.replaceChildren(
    line?.problem ? `${line.problem}: your cart holds ${line.quantity}. ` : `Added: ${units} in your cart. `,
    make("a", { href: "/cart/", textContent: "Go to the cart" }),
  );
  result.classList.toggle("warn", Boolean(line?.problem));
}

form?.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  button.disabled = true;
  try {
    await add();
  } catch (error) {
    result.textContent = /** @type {Error} */ (error).message;
    result.classList.add("warn");
  } finally {
    button.disabled = false;
  }
});
