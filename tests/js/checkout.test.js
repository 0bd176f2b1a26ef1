import assert from "node:assert/strict";
import { test } from "node:test";

import { startCheckout, watchCheckout } from "../../shop/static/shop/storefront.js";
import { ADDRESS, answer, checkoutOf, inTurn, lost, open, refusal, settled } from "./parts.js";

const POST = "POST payments/create-from-cart/";
const LOOK = "GET checkouts/c-1/";
const ORDER = { shippingAddress: ADDRESS, cart: { version: 3, total_paise: 34900 } };
const JITTER = 1.1; // with the `random` of our parts

const accepted = () => answer(202, checkoutOf("queued"));
const replayed = (status) => () =>
  answer(202, checkoutOf(status, { done: true }), { "Idempotent-Replayed": "true" });
const keys = (server) => server.to(POST).map(({ headers }) => headers.get("Idempotency-Key"));
const found = (status, options) => () =>
  answer(200, checkoutOf(status, options), { ETag: `"${status}"` });
const unchanged = () => new Response(null, { status: 304, headers: { "Retry-After": "3" } });

test("the key is stored before the request leaves", async () => {
  const { session, server, storage } = open();
  let storedKey;
  server.answers[POST] = () => {
    storedKey = JSON.parse(storage.getItem("pakka.checkoutKey")).key;
    return accepted();
  };

  await startCheckout(ORDER, session);

  assert.match(storedKey, /^[0-9a-f]{32}$/);
  assert.deepEqual(keys(server), [storedKey]);
});

test("after a lost response the POST is repeated with the same key", async () => {
  const { session, server, clock } = open();
  server.answers[POST] = inTurn(lost, () => refusal(503, "unavailable"), accepted);

  const started = startCheckout(ORDER, session);
  await clock.advance(10_000);

  assert.equal((await started).id, "c-1");
  assert.equal(new Set(keys(server)).size, 1);
  assert.equal(keys(server).length, 3);
});

test("a page reloaded before the response sends the same key", async () => {
  const first = open();
  first.server.answers[POST] = lost;
  const failed = assert.rejects(startCheckout(ORDER, first.session), { retryable: true });
  await first.clock.advance(10_000);
  await failed;
  const reloaded = open({ storage: first.storage });
  reloaded.server.answers[POST] = accepted;

  await startCheckout(ORDER, reloaded.session);

  assert.equal(keys(reloaded.server)[0], keys(first.server)[0]);
});

test("a long Retry-After is reported to the buyer at once", async () => {
  const { session, server } = open();
  server.answers[POST] = () => refusal(429, "throttled", {}, { "Retry-After": "60" });

  await assert.rejects(startCheckout(ORDER, session), { code: "throttled", retryAfterMs: 60_000 });

  assert.equal(server.to(POST).length, 1);
});

test("a double click sends the same key twice", async () => {
  const { session, server } = open();
  server.answers[POST] = accepted;

  await Promise.all([startCheckout(ORDER, session), startCheckout(ORDER, session)]);

  assert.equal(new Set(keys(server)).size, 1);
});

test("another order has another key: to another address, or of another cart", async () => {
  const { session, server } = open();
  server.answers[POST] = accepted;

  await startCheckout(ORDER, session);
  await startCheckout({ ...ORDER, shippingAddress: { ...ADDRESS, city: "Mysuru" } }, session);
  await startCheckout({ ...ORDER, cart: { version: 4, total_paise: 34900 } }, session);

  assert.equal(new Set(keys(server)).size, 3);
});

test("after a refusal the next POST has a new key", async () => {
  const { session, server } = open();
  server.answers[POST] = inTurn(() => refusal(409, "cart_changed"), accepted);
  await assert.rejects(startCheckout(ORDER, session), { code: "cart_changed" });

  await startCheckout(ORDER, session);

  assert.notEqual(keys(server)[0], keys(server)[1]);
});

test("a replayed checkout that has ended is replaced by a new one", async () => {
  const { session, server } = open();
  server.answers[POST] = inTurn(accepted, replayed("expired"), accepted);
  await startCheckout(ORDER, session);

  const again = await startCheckout(ORDER, session);

  assert.equal(again.status, "queued");
  assert.equal(keys(server)[0], keys(server)[1]);
  assert.notEqual(keys(server)[1], keys(server)[2]);
});

test("a key older than the server keeps keys is not used", async () => {
  const { session, server, clock } = open();
  server.answers[POST] = accepted;
  await startCheckout(ORDER, session);

  clock.nowMs += 13 * 60 * 60 * 1000;
  await startCheckout(ORDER, session);

  assert.notEqual(keys(server)[0], keys(server)[1]);
});

test("storage holds no address", async () => {
  const { session, server, storage } = open();
  server.answers[POST] = accepted;

  await startCheckout(ORDER, session);

  assert.doesNotMatch([...storage.kept.values()].join(), /Asha|Rest House|560001/);
});

// --- following ---------------------------------------------------------------------------------

/** Watch a checkout, and collect its statuses and errors. */
function watched(parts) {
  const statuses = [];
  const errors = [];
  const watch = watchCheckout(
    "c-1",
    ({ status }) => statuses.push(status),
    { onTrouble: (error) => errors.push(error?.code ?? null) },
    parts.session,
  );
  return { ...watch, statuses, errors };
}

test("polls follow the server's interval, a little later and never sooner", async () => {
  const parts = open();
  parts.server.answers[LOOK] = inTurn(
    found("queued", { afterMs: 100 }),
    found("awaiting_payment", { afterMs: 3000 }),
    found("paid", { done: true }),
  );
  const watch = watched(parts);
  await settled();

  await parts.clock.advance(100);
  assert.deepEqual(watch.statuses, ["queued"]);
  await parts.clock.advance(100 * JITTER - 100);
  assert.deepEqual(watch.statuses, ["queued", "awaiting_payment"]);
  await parts.clock.advance(3000);
  assert.equal(watch.statuses.length, 2);
  await parts.clock.advance(3000 * JITTER - 3000);
  assert.equal((await watch.done).status, "paid");
});

test("an unchanged checkout has no body and is polled less often, up to Retry-After", async () => {
  const parts = open();
  parts.server.answers[LOOK] = inTurn(found("queued", { afterMs: 1000 }), unchanged);
  const watch = watched(parts);

  await parts.clock.advance(20_000);

  assert.deepEqual(watch.statuses, ["queued"]);
  assert.equal(parts.server.to(LOOK)[1].headers.get("If-None-Match"), '"queued"');
  // After 0, 1.1, 3.3, 6.6, 9.9, 13.2, 16.5 and 19.8 seconds.
  assert.equal(parts.server.to(LOOK).length, 8);
  watch.stop();
});

test("a failed poll is not a failed checkout", async () => {
  const parts = open();
  parts.server.answers[LOOK] = inTurn(lost, () => refusal(500, "x"), found("queued"));
  const watch = watched(parts);

  await parts.clock.advance(1000 * JITTER);
  assert.deepEqual(watch.errors, ["no_connection", "x"]);
  await parts.clock.advance(2000 * JITTER);

  assert.deepEqual(watch.errors, ["no_connection", "x", null]);
  assert.deepEqual(watch.statuses, ["queued"]);
  watch.stop();
});

test("pauses after failed polls double, up to half a minute", async () => {
  const parts = open();
  parts.server.answers[LOOK] = lost;
  const watch = watched(parts);

  await parts.clock.advance((1 + 2 + 4 + 8 + 16 + 30 + 30) * 1000 * JITTER);

  assert.equal(parts.server.to(LOOK).length, 8);
  watch.stop();
});

test("Retry-After of an error is respected", async () => {
  const parts = open();
  const busy = () => refusal(429, "throttled", {}, { "Retry-After": "20" });
  parts.server.answers[LOOK] = inTurn(busy, found("queued"));
  const watch = watched(parts);

  await parts.clock.advance(20_000);
  assert.equal(parts.server.to(LOOK).length, 1);
  await parts.clock.advance(2_000);
  assert.equal(parts.server.to(LOOK).length, 2);
  watch.stop();
});

test("a page that becomes visible polls at once", async () => {
  const parts = open();
  parts.server.answers[LOOK] = inTurn(
    found("awaiting_payment", { afterMs: 10_000 }),
    found("paid", { done: true }),
  );
  const watch = watched(parts);
  await settled();

  parts.page.visibilityState = "hidden";
  parts.page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.equal(parts.server.to(LOOK).length, 1);
  parts.page.visibilityState = "visible";
  parts.page.dispatchEvent(new Event("visibilitychange"));

  assert.equal((await watch.done).status, "paid");
});

test("polling resumes at once when the network is back", async () => {
  const parts = open();
  parts.server.answers[LOOK] = inTurn(lost, found("paid", { done: true }));
  const watch = watched(parts);
  await settled();

  parts.network.dispatchEvent(new Event("online"));

  assert.equal((await watch.done).status, "paid");
});

test("a poll requested during another one follows it", async () => {
  const parts = open();
  let release = () => {};
  parts.server.answers[LOOK] = inTurn(
    () => new Promise((resolve) => (release = () => resolve(found("queued")()))),
    found("paid", { done: true }),
  );
  const watch = watched(parts);
  await settled();

  watch.pollNow();
  release();

  assert.equal((await watch.done).status, "paid");
});

test("a 404 ends the watch", async () => {
  const parts = open();
  parts.server.answers[LOOK] = () => refusal(404, "not_found");

  await assert.rejects(watched(parts).done, { code: "not_found" });

  await parts.clock.advance(60_000);
  assert.equal(parts.server.to(LOOK).length, 1);
});

test("after stop there are no requests and no callbacks", async () => {
  const parts = open();
  parts.server.answers[LOOK] = found("queued");
  const watch = watched(parts);
  await settled();

  watch.stop();

  assert.equal(await watch.done, null);
  await parts.clock.advance(60_000);
  assert.equal(parts.server.to(LOOK).length, 1);
});

test("after a checkout has ended, the next order has a new key", async () => {
  const parts = open();
  parts.server.answers[POST] = accepted;
  parts.server.answers[LOOK] = found("failed", { done: true });
  await startCheckout(ORDER, parts.session);
  await watched(parts).done;

  await startCheckout(ORDER, parts.session);

  assert.notEqual(keys(parts.server)[0], keys(parts.server)[1]);
});
