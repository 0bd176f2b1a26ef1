/** The header of every page: the number of units in the cart, and the account. */

import { CartManager, browserSession } from "../storefront.js";
import { ignoreStorefrontError } from "../storefront/session.js";
import { find } from "./dom.js";

export const session = browserSession();
export const cart = CartManager.of(session);

function showCount() {
  const units = cart.shown?.units_count ?? 0;
  const count = find("cart-count");
  count.hidden = units === 0;
  count.textContent = String(units);
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
addEventListener("pageshow", ({ persisted }) => persisted && cart.getCart(true).catch(ignoreStorefrontError));

showAccount();
cart.getCart().catch(ignoreStorefrontError);
