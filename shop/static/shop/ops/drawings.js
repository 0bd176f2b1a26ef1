/**
 * What each chart shows of an answer. Pure.
 *
 * @typedef {import("./charts.js").Drawing} Drawing
 * @typedef {import("./charts.js").Series} Series
 */

import { floored, stacked } from "./stacks.js";
import { duration } from "./words.js";

const MIN_SECONDS = 0.001;

/** @param {any} span @param {Partial<Drawing> & {series: Series[]}} rest @returns {Drawing} */
const over = (span, rest) => ({ starts: span.starts, bucketSeconds: span.bucket_seconds, ...rest });

/**
 * Bars upon each other, the lowest first.
 * @param {[label: string, ink: string, values: number[]][]} parts @returns {Series[]}
 */
function pile(parts) {
  const sums = stacked(parts.map(([, , values]) => values));
  return parts
    .map(([label, ink, raw]) => ({ label, ink, raw }))
    .reverse()
    .map((part, at) => ({ ...part, values: sums[at], as: /** @type {const} */ ("bar") }));
}

/** How checkouts ended, piled up; how many began and became payable, as lines. @param {any} span */
export const checkouts = (span) => {
  const { series } = span.checkouts;
  return over(span, {
    series: [
      ...pile([
        ["Paid", "good", series.paid],
        ["Failed", "bad", series.failed],
        ["Expired", "warn", series.expired],
        ["Cancelled", "pale", series.cancelled],
      ]),
      { label: "Payable", ink: "second", values: series.payable },
      { label: "Started", ink: "first", values: series.started },
    ],
  });
};

/** @param {any} span */
export const times = (span) => {
  const { payable, paid } = span.times;
  /** @param {string} label @param {string} ink @param {(number | null)[]} values */
  const line = (label, ink, values) => ({
    label,
    ink,
    values: floored(values, MIN_SECONDS),
    shown: duration,
  });
  return over(span, {
    log: true,
    axis: duration,
    series: [
      line("Payable p50", "second", payable.series.p50),
      line("Payable p95", "first", payable.series.p95),
      line("Paid p50", "good", paid.series.p50),
      line("Paid p95", "warn", paid.series.p95),
    ],
  });
};

/** @param {any} span */
export const carts = (span) =>
  over(span, {
    series: pile([
      ["Refused POSTs", "bad", span.carts.series.refused],
      ["Stale copies reported", "warn", span.carts.series.stale],
    ]),
  });
