import assert from "node:assert/strict";
import { test } from "node:test";

import * as chartData from "../../shop/static/shop/ops/chart_data.js";
import { age, clocks, count, duration, percent, perBucket } from "../../shop/static/shop/ops/format.js";
import { EVERY_MS, SignedOut, fetchFigures, poll } from "../../shop/static/shop/ops/polling.js";

// --- figures as text -------------------------------------------------------------------------------

test("a percentage is 0% or 100% only when it is exact", () => {
  assert.equal(percent(1), "100%");
  assert.equal(percent(0), "0%");
  assert.equal(percent(0.99999), ">99.9%");
  assert.equal(percent(0.0001), "<0.1%");
  assert.equal(percent(0.505), "51%");
  assert.equal(percent(0.9876), "98.8%");
  assert.equal(percent(null), "–");
});

test("a duration has a fitting unit", () => {
  const shown = [0, 0.0123, 0.999, 1.04, 59.9, 60, 3599, 3600, 86_400, 1_000_000].map(duration);

  assert.deepEqual(shown, [
    ...["0 ms", "12 ms", "999 ms", "1.0 s", "59 s"],
    ...["1 min", "59 min", "1.0 h", "1.0 d", "11 d"],
  ]);
  assert.equal(duration(undefined), "–");
});

test("an age counts from now, and is never negative", () => {
  const at = "2026-11-22T06:30:00Z";

  assert.equal(age(at, Date.parse(at) + 90_000), "1 min");
  assert.equal(age(at, Date.parse(at) - 5_000), "0 ms");
  assert.equal(age(null, 0), "–");
});

test("numbers are grouped as in India, times are on the shop's clock", () => {
  assert.equal(count(1234567), "12,34,567");
  assert.equal(clocks("Asia/Kolkata").exact(Date.UTC(2026, 10, 22, 18, 35, 9)), "00:05:09");
  assert.equal(perBucket(60), "per minute");
  assert.equal(perBucket(900), "per 15 min");
});

// --- chart data -----------------------------------------------------------------------------------------

test("stacked bars are drawn from the top, each with the sum of those below", () => {
  assert.deepEqual(chartData.stacked([[1, 2], [10, null], [100, 200]]), [[111, 202], [11, 2], [1, 2]]);
  assert.deepEqual(chartData.stacked([]), []);
});

test("a logarithmic axis gets no 0, and unknown values stay unknown", () => {
  assert.deepEqual(chartData.floored([0, 0.5, null], 0.001), [0.001, 0.5, null]);
});

test("the legend of stacked bars shows their own values, not the drawn sums", () => {
  const span = {
    starts: [0, 60],
    bucket_seconds: 60,
    checkouts: {
      series: { started: [9, 9], payable: [8, 8], paid: [1, 2], failed: [3, 0], expired: [0, 1], cancelled: [1, 1] },
    },
  };

  const { series } = chartData.checkouts(span);

  const paid = series.find(({ label }) => label === "Paid");
  const cancelled = series.find(({ label }) => label === "Cancelled");
  assert.deepEqual([paid.values, paid.raw], [[1, 2], [1, 2]]);
  assert.deepEqual([cancelled.values, cancelled.raw], [[5, 4], [1, 1]]);
});

// --- polling ---------------------------------------------------------------------------------------

/** A page, a clock, and the one load that is planned. */
function setUp(answers) {
  const calls = [];
  const page = {
    visibilityState: "visible",
    addEventListener: (_type, listener) => (page.changed = listener),
  };
  const clock = { nowMs: 1000, planned: null, ms: 0 };
  const browser = {
    page,
    setTimeout: (work, ms) => ((clock.planned = work), (clock.ms = ms), 1),
    clearTimeout: () => (clock.planned = null),
    now: () => clock.nowMs,
  };
  let loads = 0;
  const actions = {
    load: async () => {
      const answer = answers[Math.min(loads, answers.length - 1)];
      loads += 1;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    show: (figures) => calls.push(["show", figures]),
    onError: (error, lastMs) => calls.push(["onError", error?.message ?? null, lastMs]),
  };
  const shown = () => calls.filter(([name]) => name === "show").map(([, figures]) => figures);
  return { calls, page, clock, shown, polling: poll(actions, browser), loads: () => loads };
}

test("figures are shown, and the next load is planned", async () => {
  const { clock, polling, shown } = setUp(["first", "second"]);
  await polling.refresh();
  await clock.planned();

  assert.deepEqual(shown(), ["first", "second"]);
  assert.equal(clock.ms, EVERY_MS);
});

test("a failed load reports the time of the last figures, and loading goes on", async () => {
  const { calls, clock, polling } = setUp(["first", new Error("gone"), "third"]);
  await polling.refresh();
  clock.nowMs = 9000;
  await clock.planned();
  assert.deepEqual(calls.at(-1), ["onError", "gone", 1000]);

  await clock.planned();

  assert.deepEqual(calls.at(-2), ["show", "third"]);
  assert.deepEqual(calls.at(-1), ["onError", null, 9000]);
});

test("a hidden page loads nothing; a page that becomes visible loads at once", async () => {
  const { clock, loads, page, polling } = setUp(["first"]);
  await polling.refresh();
  page.visibilityState = "hidden";
  page.changed();
  assert.equal(clock.planned, null);
  assert.equal(loads(), 1);

  page.visibilityState = "visible";
  page.changed();

  assert.equal(loads(), 2);
});

test("a page that is hidden during a load plans no other", async () => {
  const { clock, page, polling } = setUp(["first"]);
  const load = polling.refresh();
  page.visibilityState = "hidden";
  await load;

  assert.equal(clock.planned, null);
});

test("the answer to an older load is not shown over a newer one", async () => {
  const { polling, shown } = setUp(["old range", "new range"]);
  await Promise.all([polling.refresh(), polling.refresh()]);

  assert.deepEqual(shown(), ["new range"]);
});

// --- fetching --------------------------------------------------------------------------------------

const answering = (status, content) => async () =>
  new Response(JSON.stringify(content), { status, headers: { "Content-Type": "application/json" } });

test("an error has the shop's sentence, and an ended session its own error", async () => {
  await assert.rejects(fetchFigures("/x", answering(400, { error: "no such range" })), /no such range/);
  await assert.rejects(fetchFigures("/x", answering(401, {})), SignedOut);
  await assert.rejects(fetchFigures("/x", async () => new Response("<html>", { status: 502 })), /502/);
  await assert.rejects(fetchFigures("/x", () => Promise.reject(new TypeError("net"))), /does not answer/);
  assert.deepEqual(await fetchFigures("/x", answering(200, { fine: 1 })), { fine: 1 });
});
