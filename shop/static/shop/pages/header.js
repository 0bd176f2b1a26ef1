/** What is on every page: how much is in the cart, and who is signed in. */

import { CartManager, StorefrontError, here } from "../storefront.js";
import { find } from "./dom.js";

export const session = here();
export const cart = CartManager.of(session);

function showCount() {
  const units = cart.shown?.units_count ?? 0;
  const count = find("cart-count");
  count.hidden = units === 0;
  count.textContent = String(units);
}

function showWho() {
  const email = session.tokens?.email;
  const who = find("who");
  who.textContent = email ? "Account" : "Sign in";
  who.title = email ? `Signed in as ${email}` : "";
}

/** For `catch` where the page can do without the answer. @param {unknown} error */
export function leave(error) {
  if (!(error instanceof StorefrontError)) throw error;
}

cart.addEventListener("change", showCount);
session.parts.channel?.addEventListener("message", showWho);
// A page brought back by the back button is as old as its last look.
addEventListener("pageshow", ({ persisted }) => persisted && cart.getCart(true).catch(leave));

showWho();
cart.getCart().catch(leave);
