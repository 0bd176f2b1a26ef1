/** Helpers to find, create and fill elements. They insert text only, never HTML. */

/** @param {string} name of a `data-` attribute @param {ParentNode} [root] @returns {any} */
export const find = (name, root = document) => root.querySelector(`[data-${name}]`);

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] of the element; `data` for its data attributes
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, { data = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

/** Replace the terms of a `dl`. @param {HTMLElement} list @param {[string, string][]} pairs */
export const showTerms = (list, pairs) =>
  list.replaceChildren(
    ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );

/** An item of an order. @param {any} item @param {string} price @param {Node[]} more */
export const itemOf = ({ quantity, name }, price, ...more) =>
  make("li", {}, make("span", {}, `${quantity} × ${name}`), make("span", {}, price), ...more);

/** Show `text` in the element, or hide the element without a text.
 *  @param {HTMLElement} element @param {string | null} [text] */
export function setText(element, text) {
  element.hidden = !text;
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
}
