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

/** @param {string} timeZone @param {Intl.DateTimeFormatOptions} options */
const formatter = (timeZone, options) =>
  new Intl.DateTimeFormat("en-IN", { timeZone, hourCycle: "h23", ...options });

/** Times on the shop's clock. @param {string} timeZone */
export function clocks(timeZone) {
  const time = formatter(timeZone, { hour: "2-digit", minute: "2-digit" });
  const exact = formatter(timeZone, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = formatter(timeZone, { day: "numeric", month: "short" });
  const whole = formatter(timeZone, {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  });
  return {
    time: (/** @type {number} */ ms) => time.format(ms),
    exact: (/** @type {number} */ ms) => exact.format(ms),
    day: (/** @type {number} */ ms) => day.format(ms),
    whole: (/** @type {number} */ ms) => whole.format(ms),
  };
}
