/** Errors beside their fields, and in a summary that leads to them. */

import { make, tell } from "./dom.js";

/** @param {HTMLInputElement} input @param {string | null} sentence null: it is well now */
export function mark(input, sentence) {
  const id = `${input.id}-error`;
  const note = document.getElementById(id);
  const others = (input.getAttribute("aria-describedby") ?? "").split(" ").filter((it) => it !== id);
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
 * Say what is wrong, and take the reader there.
 *
 * @param {HTMLElement} summary
 * @param {string} sentence
 * @param {[HTMLInputElement, string][]} [wrong] inputs with what to say of each
 */
export function summarise(summary, sentence, wrong = []) {
  for (const [input, words] of wrong) mark(input, words);
  tell(summary, sentence);
  const entries = wrong.map(([input, words]) =>
    make("li", {}, make("a", { href: `#${input.id}`, textContent: words })),
  );
  if (entries.length) summary.append(make("ul", {}, ...entries));
  summary.focus();
}
