/** Errors beside their fields, and a summary with links to the fields. */

import { make, setText } from "./dom.js";

/** @param {HTMLInputElement} input @param {string | null} sentence null removes the error */
export function mark(input, sentence) {
  const id = `${input.id}-error`;
  const note = document.getElementById(id);
  const others = (input.getAttribute("aria-describedby") ?? "").split(" ").filter((other) => other !== id);
  const described = (sentence ? [...others, id] : others).join(" ").trim();
  if (described) input.setAttribute("aria-describedby", described);
  else input.removeAttribute("aria-describedby");
  if (!sentence) {
    note?.remove();
    input.removeAttribute("aria-invalid");
    return;
  }
  if (note) note.textContent = sentence;
  else input.after(make("span", { id, className: "error", textContent: sentence }));
  input.setAttribute("aria-invalid", "true");
}

/**
 * Show a summary of the errors and move the focus to it.
 *
 * @param {HTMLElement} summary
 * @param {string} sentence
 * @param {[HTMLInputElement, string][]} [invalid] inputs with their errors
 */
export function summarise(summary, sentence, invalid = []) {
  for (const [input, error] of invalid) mark(input, error);
  setText(summary, sentence);
  const entries = invalid.map(([input, error]) =>
    make("li", {}, make("a", { href: `#${input.id}`, textContent: error })),
  );
  if (entries.length) summary.append(make("ul", {}, ...entries));
  summary.focus();
}
