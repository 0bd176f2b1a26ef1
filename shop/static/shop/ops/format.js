/** Figures as text. Pure. */

export const NOTHING = "–";

/** @param {number | null | undefined} value */
export const count = (value) => (value == null ? NOTHING : value.toLocaleString("en-IN"));

/** @param {number | null | undefined} share 0…1; "100%" and "0%" only for exactly 1 and 0 */
export function percent(share) {
  if (share == null) return NOTHING;
  const text = (share * 100).toFixed(share > 0.1 && share < 0.9 ? 0 : 1);
  if (share < 1 && Number(text) === 100) return ">99.9%";
  if (share > 0 && Number(text) === 0) return "<0.1%";
  return `${Number(text)}%`;
}

const UNITS = /** @type {const} */ ([
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
]);

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds == null) return NOTHING;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  for (const [unit, size] of UNITS) {
    if (seconds < size) continue;
    const value = seconds / size;
    return `${value < 10 && unit !== "min" ? value.toFixed(1) : Math.floor(value)} ${unit}`;
  }
  return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
}

/** The time since `at`. @param {string | null | undefined} at ISO 8601 @param {number} nowMs */
export const age = (at, nowMs) =>
  at ? duration(Math.max(0, (nowMs - Date.parse(at)) / 1000)) : NOTHING;

/** @param {number} seconds */
export const perBucket = (seconds) => (seconds === 60 ? "per minute" : `per ${duration(seconds)}`);

/** Times on the shop's clock. @param {string} timeZone */
export function clocks(timeZone) {
  /** @param {Intl.DateTimeFormatOptions} options @returns {(ms: number) => string} */
  const clock = (options) => {
    const formatter = new Intl.DateTimeFormat("en-IN", { timeZone, hourCycle: "h23", ...options });
    return (ms) => formatter.format(ms);
  };
  const time = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit" });
  const day = /** @type {const} */ ({ day: "numeric", month: "short" });
  return {
    time: clock(time),
    exact: clock({ ...time, second: "2-digit" }),
    day: clock(day),
    whole: clock({ ...day, ...time }),
  };
}
