/** The header of every page: the number of units in the cart, and the account. */

import { CartManager, here } from "../storefront.js";
import { ignoreShopError } from "../storefront/session.js";
import { find, setText } from "./dom.js";

export const session = here();
export const cart = CartManager.of(session);

function showCount() {
  const units = cart.shown?.units_count ?? 0;
  setText(find("cart-count"), units ? String(units) : null);
}

function showAccount() {
  const email = session.tokens?.email;
  const link = find("account");
  link.textContent = email ? "Account" : "Sign in";
  link.title = email ? `Signed in as ${email}` : "";
}

cart.addEventListener("change", showCount);
session.parts.channel?.addEventListener("message", showAccount);
// A page restored by the back button shows the cart of that time.
addEventListener("pageshow", ({ persisted }) => persisted && cart.getCart(true).catch(ignoreShopError));

showAccount();
cart.getCart().catch(ignoreShopError);
