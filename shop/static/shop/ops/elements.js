/** The elements that panels consist of. */

import { make } from "../pages/dom.js";
import { NOTHING, age } from "./format.js";

/**
 * @typedef {{name: string, of: (row: any) => Node | string, isNumber?: boolean}} Column
 */

/** @param {string} name @param {(row: any) => Node | string} of @returns {Column} */
export const text = (name, of) => ({ name, of });

/** @param {string} name @param {(row: any) => Node | string} of @returns {Column} */
export const number = (name, of) => ({ name, of, isNumber: true });

/** The time since `at`, which `updateAges` keeps current. @param {string | null | undefined} at */
export const since = (at) =>
  at ? make("time", { dateTime: at, data: { age: "" } }) : make("span", {}, NOTHING);

/** @param {ParentNode} root @param {number} nowMs */
export function updateAges(root, nowMs) {
  for (const element of root.querySelectorAll("[data-age]")) {
    const time = /** @type {HTMLTimeElement} */ (element);
    time.textContent = age(time.dateTime, nowMs);
  }
}

/**
 * A table that scrolls sideways in its own frame; the sentence `empty` if there are no rows.
 *
 * @param {string} label @param {Column[]} columns @param {any[]} rows @param {string} [empty]
 */
export function table(label, columns, rows, empty = "None.") {
  if (rows.length === 0) return make("p", { className: "ops-quiet" }, empty);
  const kind = (/** @type {Column} */ { isNumber }) => (isNumber ? "ops-number" : "");
  const head = columns.map((column) =>
    make("th", { scope: "col", className: kind(column) }, column.name),
  );
  const body = rows.map((row) =>
    make("tr", {}, ...columns.map((column) => make("td", { className: kind(column) }, column.of(row)))),
  );
  return make(
    "div",
    { className: "ops-scroll", tabIndex: 0, role: "region", ariaLabel: label },
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)),
  );
}

/** Names and values. @param {[name: Node | string, value: Node | string, tone?: string][]} pairs */
export const facts = (pairs) =>
  make(
    "dl",
    { className: "ops-facts" },
    ...pairs.map(([name, value, tone]) =>
      make("div", { data: tone ? { tone } : {} }, make("dt", {}, name), make("dd", {}, value)),
    ),
  );

/** A line over a bar that is `share` (0…1) wide.
 *  @param {string} name @param {string} value @param {number | null} share @param {string} ink */
export function bar(name, value, share, ink) {
  const fill = make("span", { className: `ops-fill ops-fill-${ink}` });
  fill.style.setProperty("--share", `${Math.round((share ?? 0) * 1000) / 10}%`);
  return make(
    "li",
    {},
    make("span", {}, name),
    make("span", { className: "ops-bar-value" }, value),
    make("span", { className: "ops-track" }, fill),
  );
}

/** @param {string} text @param {string} href */
export const link = (text, href) => make("a", { href }, text);

/** @param {string} text */
export const note = (text) => make("p", { className: "ops-quiet" }, text);
