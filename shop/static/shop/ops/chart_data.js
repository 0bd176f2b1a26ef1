/**
 * What each chart shows of the figures. Pure.
 *
 * @typedef {import("./chart.js").Drawing} Drawing
 * @typedef {import("./chart.js").Series} Series
 */

import { duration } from "./format.js";

const MIN_SECONDS = 0.001;

/** @param {any} span @param {Partial<Drawing> & {series: Series[]}} rest @returns {Drawing} */
const over = (span, rest) => ({ starts: span.starts, bucketSeconds: span.bucket_seconds, ...rest });

/**
 * Each series plus all below it, the topmost first: drawn in this order, each bar covers the lower
 * part of the one before.
 *
 * @param {(number | null)[][]} series the lowest first @returns {number[][]}
 */
export function stacked(series) {
  /** @type {number[][]} */
  const sums = [];
  for (const values of series) {
    const below = sums.at(-1);
    sums.push(values.map((value, at) => (value ?? 0) + (below?.[at] ?? 0)));
  }
  return sums.reverse();
}

/** A logarithmic axis has no 0. @param {(number | null)[]} values @param {number} min */
export const floored = (values, min) =>
  values.map((value) => (value == null ? null : Math.max(value, min)));

/**
 * Stacked bars, the lowest first.
 * @param {[label: string, ink: string, values: number[]][]} parts @returns {Series[]}
 */
function stack(parts) {
  const sums = stacked(parts.map(([, , values]) => values));
  return parts
    .map(([label, ink, raw]) => ({ label, ink, raw }))
    .reverse()
    .map((part, at) => ({ ...part, values: sums[at], as: /** @type {const} */ ("bar") }));
}

/** Ended checkouts as stacked bars, started and payable ones as lines. @param {any} span */
export const checkouts = (span) => {
  const { series } = span.checkouts;
  return over(span, {
    series: [
      ...stack([
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
    series: stack([
      ["Refused POSTs", "bad", span.carts.series.refused],
      ["Stale copies reported", "warn", span.carts.series.stale],
    ]),
  });
