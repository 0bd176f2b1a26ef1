/** What panels are made of. */

import { make } from "../pages/dom.js";
import { age } from "./words.js";

/**
 * @typedef {{name: string, of: (row: any) => Node | string, isNumber?: boolean}} Column
 */

/** How long ago, kept up by `keepAges`. @param {string | null | undefined} at */
export const since = (at) =>
  at ? make("time", { dateTime: at, data: { age: "" } }) : make("span", {}, "–");

/** @param {ParentNode} root @param {number} nowMs */
export function keepAges(root, nowMs) {
  for (const element of root.querySelectorAll("[data-age]")) {
    const time = /** @type {HTMLTimeElement} */ (element);
    time.textContent = age(time.dateTime, nowMs);
  }
}

/**
 * A table in a frame of its own that scrolls sideways where it must, or a sentence.
 *
 * @param {string} label @param {Column[]} columns @param {any[]} rows @param {string} [empty]
 */
export function table(label, columns, rows, empty = "Nothing.") {
  if (rows.length === 0) return make("p", { className: "ops-quiet" }, empty);
  const cell = (/** @type {Column} */ { of, isNumber }, /** @type {any} */ row) =>
    make("td", { className: isNumber ? "ops-number" : "" }, of(row));
  const head = columns.map(({ name, isNumber }) =>
    make("th", { scope: "col", className: isNumber ? "ops-number" : "" }, name),
  );
  return make(
    "div",
    { className: "ops-scroll", tabIndex: 0, role: "region", ariaLabel: label },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...columns.map((it) => cell(it, row))))),
    ),
  );
}

/** Names and values. @param {[name: Node | string, value: Node | string, tone?: string][]} pairs */
export const facts = (pairs) =>
  make(
    "dl",
    { className: "ops-facts" },
    ...pairs.map(([name, value, tone]) =>
      make(
        "div",
        { data: tone ? { tone } : {} },
        make("dt", {}, name),
        make("dd", {}, value),
      ),
    ),
  );

/** A line with a bar behind it that is `share` (0…1) wide.
 *  @param {string} name @param {string} value @param {number | null} share @param {string} ink */
export function bar(name, value, share, ink) {
  const fill = make("span", { className: `ops-fill ops-fill-${ink}` });
  fill.style.setProperty("--share", `${Math.round((share ?? 0) * 1000) / 10}%`);
  return make(
    "li",
    {},
    make("span", { className: "ops-bar-name" }, name),
    make("span", { className: "ops-bar-value" }, value),
    make("span", { className: "ops-track" }, fill),
  );
}

/** @param {string} text @param {string} href */
export const link = (text, href) => make("a", { href }, text);
