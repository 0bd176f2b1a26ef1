import assert from "node:assert/strict";
import { test } from "node:test";

import { SignedOut, ask } from "../../shop/static/shop/ops/ask.js";
import * as drawings from "../../shop/static/shop/ops/drawings.js";
import { EVERY_MS, follow } from "../../shop/static/shop/ops/follow.js";
import { floored, stacked } from "../../shop/static/shop/ops/stacks.js";
import { age, clocks, count, duration, percent, perBucket } from "../../shop/static/shop/ops/words.js";

// --- words -----------------------------------------------------------------------------------------

test("a share is never said to be all or nothing when it is not", () => {
  assert.equal(percent(1), "100%");
  assert.equal(percent(0), "0%");
  assert.equal(percent(0.99999), ">99.9%");
  assert.equal(percent(0.0001), "<0.1%");
  assert.equal(percent(0.505), "51%");
  assert.equal(percent(0.9876), "98.8%");
  assert.equal(percent(null), "–");
});

test("a duration has the unit that fits it", () => {
  const said = [0, 0.0123, 0.999, 1.04, 59.9, 60, 3599, 3600, 86_400, 1_000_000].map(duration);

  assert.deepEqual(said, [
    ...["0 ms", "12 ms", "999 ms", "1.0 s", "59 s"],
    ...["1 min", "59 min", "1.0 h", "1.0 d", "11 d"],
  ]);
  assert.equal(duration(undefined), "–");
});

test("an age is counted from now, and never lies in the future", () => {
  const at = "2026-11-22T06:30:00Z";

  assert.equal(age(at, Date.parse(at) + 90_000), "1 min");
  assert.equal(age(at, Date.parse(at) - 5_000), "0 ms");
  assert.equal(age(null, 0), "–");
});

test("numbers are grouped as in India, times are on the shop's clock", () => {
  assert.equal(count(1234567), "12,34,567");
  assert.equal(clocks("Asia/Kolkata").exact(Date.UTC(2026, 10, 22, 18, 35, 9)), "00:05:09");
  assert.equal(perBucket(60), "a minute");
  assert.equal(perBucket(900), "every 15 min");
});

// --- what is drawn -----------------------------------------------------------------------------------

test("a pile is drawn from its top, each with all below it", () => {
  assert.deepEqual(stacked([[1, 2], [10, null], [100, 200]]), [[111, 202], [11, 2], [1, 2]]);
  assert.deepEqual(stacked([]), []);
});

test("on a logarithmic axis nothing is 0 and nothing known stays unknown", () => {
  assert.deepEqual(floored([0, 0.5, null], 0.001), [0.001, 0.5, null]);
});

test("a pile tells its own values, not the sums that are drawn", () => {
  const span = {
    starts: [0, 60],
    bucket_seconds: 60,
    checkouts: {
      series: { started: [9, 9], payable: [8, 8], paid: [1, 2], failed: [3, 0], expired: [0, 1], cancelled: [1, 1] },
    },
  };

  const { series } = drawings.checkouts(span);

  const paid = series.find(({ label }) => label === "Paid");
  const cancelled = series.find(({ label }) => label === "Cancelled");
  assert.deepEqual([paid.values, paid.raw], [[1, 2], [1, 2]]);
  assert.deepEqual([cancelled.values, cancelled.raw], [[5, 4], [1, 1]]);
});

// --- following ---------------------------------------------------------------------------------------

/** A page, a clock, and one thing that is planned. */
function stage(answers) {
  const told = [];
  const page = {
    visibilityState: "visible",
    addEventListener: (_type, listener) => (page.changed = listener),
  };
  const clock = { nowMs: 1000, planned: null, ms: 0 };
  const parts = {
    page,
    setTimeout: (work, ms) => ((clock.planned = work), (clock.ms = ms), 1),
    clearTimeout: () => (clock.planned = null),
    now: () => clock.nowMs,
  };
  let asked = 0;
  const watcher = {
    look: async () => {
      const answer = answers[Math.min(asked, answers.length - 1)];
      asked += 1;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    show: (found) => told.push(["show", found]),
    trouble: (error, sinceMs) => told.push(["trouble", error?.message ?? null, sinceMs]),
  };
  const watch = follow(watcher, parts);
  return { told, page, clock, watch, asked: () => asked };
}

test("what is found is shown, and the next look is planned", async () => {
  const it = stage(["first", "second"]);
  await it.watch.again();
  await it.clock.planned();

  assert.deepEqual(it.told.filter(([what]) => what === "show"), [["show", "first"], ["show", "second"]]);
  assert.equal(it.clock.ms, EVERY_MS);
});

test("when the shop is away the page says since when its figures are stale, and goes on asking", async () => {
  const it = stage(["first", new Error("gone"), "third"]);
  await it.watch.again();
  it.clock.nowMs = 9000;
  await it.clock.planned();
  assert.deepEqual(it.told.at(-1), ["trouble", "gone", 1000]);

  await it.clock.planned();

  assert.deepEqual(it.told.at(-2), ["show", "third"]);
  assert.deepEqual(it.told.at(-1), ["trouble", null, 9000]);
});

test("nobody asks for a page that nobody sees; seen again it asks at once", async () => {
  const it = stage(["first"]);
  await it.watch.again();
  it.page.visibilityState = "hidden";
  it.page.changed();
  assert.equal(it.clock.planned, null);
  assert.equal(it.asked(), 1);

  it.page.visibilityState = "visible";
  it.page.changed();

  assert.equal(it.asked(), 2);
});

test("a page hidden during a look plans no other", async () => {
  const it = stage(["first"]);
  const look = it.watch.again();
  it.page.visibilityState = "hidden";
  await look;

  assert.equal(it.clock.planned, null);
});

test("the answer to an older question is not shown over a newer one", async () => {
  const it = stage(["old range", "new range"]);
  await Promise.all([it.watch.again(), it.watch.again()]);

  assert.deepEqual(it.told.filter(([what]) => what === "show"), [["show", "new range"]]);
});

// --- asking ------------------------------------------------------------------------------------------

const answering = (status, content) => async () =>
  new Response(JSON.stringify(content), { status, headers: { "Content-Type": "application/json" } });

test("a refusal is told in the shop's words, a lost session as such", async () => {
  await assert.rejects(ask("/x", answering(400, { error: "no such range" })), /no such range/);
  await assert.rejects(ask("/x", answering(401, {})), SignedOut);
  await assert.rejects(ask("/x", async () => new Response("<html>", { status: 502 })), /502/);
  await assert.rejects(ask("/x", () => Promise.reject(new TypeError("net"))), /does not answer/);
  assert.deepEqual(await ask("/x", answering(200, { fine: 1 })), { fine: 1 });
});
