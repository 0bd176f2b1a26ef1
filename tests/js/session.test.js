import assert from "node:assert/strict";
import { test } from "node:test";

import { CartManager, StorefrontError } from "../../shop/static/shop/storefront.js";
import { PLANTER, answer, cartOf, inTurn, lost, open, refusal } from "./parts.js";

const fresh = () => answer(200, { access: "new-access" });
const onlyNew = ({ headers }) =>
  headers.get("Authorization") === "Bearer new-access"
    ? answer(200, cartOf(1))
    : refusal(401, "token_not_valid");

test("two concurrent adds without an account create one guest", async () => {
  const { session, server } = open({ signedIn: false });
  server.answers["POST auth/guest/"] = () => answer(201, { access: "a", refresh: "r" });
  server.answers["POST cart/add/"] = () => answer(200, { cart: cartOf(2, PLANTER) });
  const cart = new CartManager(session);

  await Promise.all([cart.addItem(4, 8), cart.addItem(4, 8)]);

  assert.equal(server.to("POST auth/guest/").length, 1);
  assert.equal(server.to("POST cart/add/").length, 2);
  assert.equal(session.tokens.email, null);
});

test("reading a cart creates no guest", async () => {
  const { session, server } = open({ signedIn: false });

  const cart = await new CartManager(session).getCart(true);

  assert.deepEqual(cart.items, []);
  assert.equal(server.requests.length, 0);
});

test("a 401 refreshes the tokens and repeats the call", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = onlyNew;
  server.answers["POST auth/token/refresh/"] = fresh;

  const reply = await session.request("GET", "cart/");

  assert.equal(reply.content.version, 1);
  assert.deepEqual(server.to("POST auth/token/refresh/")[0].body, { refresh: "refresh" });
  assert.equal(session.tokens.refresh, "refresh");
});

test("two concurrent 401s refresh once", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = onlyNew;
  server.answers["POST auth/token/refresh/"] = fresh;

  await Promise.all([session.request("GET", "cart/"), session.request("GET", "cart/")]);

  assert.equal(server.to("POST auth/token/refresh/").length, 1);
});

test("tokens that another tab has refreshed are used", async () => {
  const { session, server, storage } = open();
  server.answers["GET cart/"] = (request) => {
    const theirs = { access: "new-access", refresh: "refresh", email: null };
    storage.setItem("pakka.tokens", JSON.stringify(theirs));
    return onlyNew(request);
  };

  await session.request("GET", "cart/");

  assert.equal(server.to("POST auth/token/refresh/").length, 0);
});

test("a 401 after the refresh signs out instead of looping", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = () => refusal(401, "token_not_valid");
  server.answers["POST auth/token/refresh/"] = fresh;

  await assert.rejects(session.request("GET", "cart/"), { code: "signed_out", retryable: false });

  assert.equal(session.isKnown, false);
  assert.equal(server.to("GET cart/").length, 2);
});

test("a refused refresh signs out", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = onlyNew;
  server.answers["POST auth/token/refresh/"] = () => refusal(401, "token_not_valid");

  await assert.rejects(session.request("GET", "cart/"), { code: "signed_out" });

  assert.equal(session.isKnown, false);
});

test("a lost refresh does not sign out", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = onlyNew;
  server.answers["POST auth/token/refresh/"] = lost;

  await assert.rejects(session.request("GET", "cart/"), { code: "no_connection", retryable: true });

  assert.equal(session.isKnown, true);
});

test("a guest signs in with a fresh token, so that the cart is merged", async () => {
  const { session, server } = open();
  server.answers["POST auth/token/refresh/"] = fresh;
  server.answers["POST auth/token/"] = () => answer(200, { access: "mine", refresh: "mine-too" });

  await session.signIn("asha@example.com", "a long password");

  const { headers } = server.to("POST auth/token/")[0];
  assert.equal(headers.get("Authorization"), "Bearer new-access");
  assert.deepEqual(session.tokens, {
    access: "mine",
    refresh: "mine-too",
    email: "asha@example.com",
  });
});

test("signing out deletes the tokens at once and ends the session on the server", async () => {
  const { session, server } = open();
  const { refresh } = session.tokens;
  server.answers["POST auth/sign-out/"] = () => answer(204);

  const done = session.signOut();

  assert.equal(session.tokens, null);
  await done;
  const [{ body, headers, keepalive }] = server.to("POST auth/sign-out/");
  assert.deepEqual([body, headers.get("Authorization"), keepalive], [{ refresh }, null, true]);
});

test("signing out works offline", async () => {
  const { session, server } = open();
  server.answers["POST auth/sign-out/"] = lost;

  await session.signOut();

  assert.equal(session.tokens, null);
});

test("a wrong password leaves the guest a guest", async () => {
  const { session, server } = open();
  server.answers["POST auth/token/refresh/"] = fresh;
  server.answers["POST auth/token/"] = () => refusal(401, "bad_credentials");

  await assert.rejects(session.signIn("asha@example.com", "wrong"), { code: "bad_credentials" });

  assert.equal(session.tokens.email, null);
});

test("an error has its code, message, details and whether it is retryable", async () => {
  const { session, server } = open();
  server.answers["GET cart/"] = inTurn(
    () => refusal(400, "cart_full", { lines: 100 }),
    () => refusal(429, "throttled", {}, { "Retry-After": "7" }),
    () => new Response("<html>", { status: 502 }),
  );

  const refused = await session.request("GET", "cart/").catch((error) => error);
  const tooOften = await session.request("GET", "cart/").catch((error) => error);
  const broken = await session.request("GET", "cart/").catch((error) => error);

  assert.ok(refused instanceof StorefrontError);
  assert.deepEqual(
    [refused.code, refused.message, refused.details, refused.retryable],
    ["cart_full", "No.", { lines: 100 }, false],
  );
  assert.deepEqual([tooOften.retryable, tooOften.retryAfterMs], [true, 7000]);
  assert.deepEqual([broken.code, broken.retryable], ["no_answer", true]);
});

test("the server's time is taken from its responses, whatever our clock shows", async () => {
  const { session, server, clock } = open();
  const Date_ = new Date(clock.nowMs + 3_600_000).toUTCString();
  server.answers["GET cart/"] = () => answer(200, cartOf(1), { Date: Date_ });

  await session.request("GET", "cart/");

  assert.equal(session.now, clock.nowMs + 3_600_000);
});
