import assert from "node:assert/strict";
import { test } from "node:test";

import {
  CartManager,
  StorefrontError,
  getUserActiveCart,
  handleCartError,
  processCheckout,
  recoverCartSync,
} from "../../shop/static/shop/storefront.js";
import {
  ADDRESS,
  Hub,
  PLANTER,
  Storage,
  answer,
  cartOf,
  checkoutOf,
  inTurn,
  open,
  refusal,
  settled,
} from "./parts.js";

const POST = "POST payments/create-from-cart/";
const says = (cart) => () => answer(200, cart, { ETag: `"${cart.version}"` });
const unchanged = () => new Response(null, { status: 304 });
const accepted = () => answer(202, checkoutOf("queued"));

test("a cart is fetched once in thirty seconds, unless a refresh is forced", async () => {
  const { session, server, clock } = open();
  server.answers["GET cart/"] = says(cartOf(3, PLANTER));
  const cart = CartManager.of(session);

  await cart.getCart();
  clock.nowMs += 29_999;
  await cart.getCart();
  assert.equal(server.requests.length, 1);
  await cart.getCart(true);
  assert.equal(server.requests.length, 2);
  clock.nowMs += 30_000;
  await cart.getCart();
  assert.equal(server.requests.length, 3);
});

test("a copy is revalidated by its ETag, and kept after a 304", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = inTurn(says(cartOf(3, PLANTER)), unchanged);
  await getUserActiveCart(session);

  const again = await getUserActiveCart(session);

  assert.equal(server.requests[0].headers.get("If-None-Match"), null);
  assert.equal(server.requests[1].headers.get("If-None-Match"), '"3"');
  assert.deepEqual(again.items, [PLANTER]);
});

test("another buyer's cart is never shown from the copy", async () => {
  const { session, server, storage } = open();
  server.answers["GET cart/"] = says(cartOf(3, PLANTER));
  await getUserActiveCart(session);
  storage.setItem("pakka.tokens", JSON.stringify({ access: "b", refresh: "b", email: "b@x.in" }));

  assert.equal(CartManager.of(session).shown, null);
  await CartManager.of(session).getCart();
  assert.equal(server.requests[1].headers.get("If-None-Match"), null);
});

test("an overtaken response does not restore the old cart", async () => {
  const { session, server } = open();
  let release = () => {};
  server.answers["GET cart/"] = () =>
    new Promise((resolve) => (release = () => resolve(answer(200, cartOf(3)))));
  server.answers["POST cart/add/"] = () => answer(200, { cart: cartOf(4, PLANTER) });
  const cart = CartManager.of(session);
  const slow = cart.getCart(true);
  await settled();
  await cart.addItem(4, 8);

  release();
  await slow;

  assert.equal(cart.shown.version, 4);
});

test("a checkout posts the version and the total that the page shows, and no cart id", async () => {
  const { session, server, storage } = open();
  server.answers["GET cart/"] = inTurn(says(cartOf(3, PLANTER)), unchanged);
  server.answers[POST] = accepted;
  await getUserActiveCart(session);

  await CartManager.of(session).checkout(ADDRESS);

  const { body } = server.to(POST)[0];
  assert.equal(body.cart_version, 3);
  assert.equal(body.expected_total_paise, 34900);
  assert.deepEqual(body.shipping_address, ADDRESS);
  assert.ok(!("cart_id" in body) && !("billing_address" in body));
  assert.ok(![...storage.kept.values()].some((kept) => /cart_?id/i.test(kept)));
});

test("a page with a stale cart gets the server's cart, and posts nothing", async () => {
  const { session, server } = open();
  const now = cartOf(4, PLANTER, { ...PLANTER, id: 2 });
  server.answers["GET cart/"] = inTurn(says(cartOf(3, PLANTER)), says(now));
  await getUserActiveCart(session);

  const error = await CartManager.of(session).checkout(ADDRESS).catch((it) => it);

  assert.equal(error.code, "cart_changed");
  assert.deepEqual(error.details.cart, now);
  assert.equal(server.to(POST).length, 0);
});

test("an empty cart is not posted", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = says(cartOf(3));

  await assert.rejects(CartManager.of(session).checkout(ADDRESS), { code: "cart_empty" });

  assert.equal(server.to(POST).length, 0);
});

test("setting a quantity to zero removes the line", async () => {
  const { session, server } = open();
  server.answers["DELETE cart/items/1/"] = says(cartOf(5));

  const cart = await CartManager.of(session).setQuantity(1, 0);

  assert.deepEqual(cart.items, []);
});

test("other tabs are notified of a change and fetch it", async () => {
  const browser = { hub: new Hub(), storage: new Storage() };
  const first = open(browser);
  const there = open(browser);
  first.server.answers["POST cart/add/"] = () => answer(200, { cart: cartOf(4, PLANTER) });
  there.server.answers["GET cart/"] = inTurn(says(cartOf(3)), says(cartOf(4, PLANTER)));
  const theirs = CartManager.of(there.session);
  await theirs.getCart();
  const heard = new Promise((resolve) => {
    theirs.addEventListener("change", ({ detail }) => resolve(detail));
  });

  await CartManager.of(first.session).addItem(4, 8);

  assert.equal((await heard).version, 4);
});

test("recovery deletes every copy, also of older storefronts, and reports the version seen", async () => {
  const { session, server, storage } = open();
  server.answers["GET cart/"] = inTurn(says(cartOf(3, PLANTER)), says(cartOf(9)));
  server.answers["POST cart/sync-events/"] = () => answer(202);
  storage.setItem("cartId", "36");
  storage.setItem("cartData", "{}");
  await getUserActiveCart(session);

  const cart = await recoverCartSync("stale_copy", session);

  assert.equal(cart.version, 9);
  assert.equal(server.to("GET cart/")[1].headers.get("If-None-Match"), null);
  assert.equal(storage.getItem("cartId") ?? storage.getItem("cartData"), null);
  assert.deepEqual(server.to("POST cart/sync-events/")[0].body, {
    kind: "stale_copy",
    cart_version: 3,
    detail: "now 9",
  });
});

test("a report that fails does not spoil the recovery", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = says(cartOf(9));
  server.answers["POST cart/sync-events/"] = () => refusal(429, "throttled");

  assert.equal((await recoverCartSync("stale_copy", session)).version, 9);
});

test("recovery from a cart error runs once a minute, so that no page loops", async () => {
  const { session, server, clock } = open();
  server.answers["GET cart/"] = says(cartOf(9));
  server.answers["POST cart/sync-events/"] = () => answer(202);
  const failing = () => processCheckout(ADDRESS, null, session).catch((error) => error);

  const first = await failing();
  assert.equal(first.code, "cart_empty");
  assert.equal(server.to("POST cart/sync-events/").length, 1);
  await failing();
  assert.equal(server.to("POST cart/sync-events/").length, 1);
  clock.nowMs += 60_000;
  await failing();
  assert.equal(server.to("POST cart/sync-events/").length, 2);
});

test("other errors start no recovery", async () => {
  const { session, server } = open();

  const refused = new StorefrontError({ code: "address_invalid", message: "No." });

  assert.equal(await handleCartError(new TypeError("a bug"), session), null);
  assert.equal(await handleCartError(refused, session), null);

  assert.equal(server.requests.length, 0);
});

test("a changed cart is shown to the buyer, not posted again automatically", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = says(cartOf(3, PLANTER));
  server.answers["POST cart/sync-events/"] = () => answer(202);
  server.answers[POST] = () => refusal(409, "cart_changed", { cart: cartOf(4) });

  await assert.rejects(processCheckout(ADDRESS, null, session), { code: "cart_changed" });

  assert.equal(server.to(POST).length, 1);
});
