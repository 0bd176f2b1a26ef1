/** Series laid upon each other. Pure. */

/**
 * Each series with all that lie below it added, the topmost first: drawn in this order, each covers
 * the lower part of the one before.
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

/** On a logarithmic axis nothing is 0. @param {(number | null)[]} values @param {number} least */
export const floored = (values, least) =>
  values.map((value) => (value == null ? null : Math.max(value, least)));
