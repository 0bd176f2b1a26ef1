import { StorefrontError } from "../storefront.js";
import { find, setText } from "./dom.js";
import { mark, summarise } from "./form-errors.js";
import { cart, session } from "./header.js";

const summary = find("problem");

function show() {
  const email = session.tokens?.email;
  find("known").hidden = !email;
  find("forms").hidden = find("guest").hidden = Boolean(email);
  setText(find("email"), email);
}

/** @param {HTMLFormElement} form */
async function enter(form) {
  const { email, password } = /** @type {Record<string, string>} */ (
    Object.fromEntries(new FormData(form))
  );
  await (form.dataset.enter === "register"
    ? session.register(email, password)
    : session.signIn(email, password));
  const { items_count: lines } = await cart.getCart(true);
  location.assign(lines ? "/cart/" : "/");
}

/** @param {HTMLFormElement} form @param {unknown} error */
function showError(form, error) {
  if (!(error instanceof StorefrontError)) throw error;
  const named = error.details?.fields ?? {};
  const invalid = Object.entries(named).map(([field, [sentence]]) => [
    form.elements.namedItem(field),
    sentence,
  ]);
  summarise(summary, invalid.length ? "Please correct this:" : error.message, /** @type {any} */ (invalid));
}

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-enter]"))) {
  form.addEventListener("input", ({ target }) => mark(/** @type {any} */ (target), null));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(summary, null);
    const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    button.disabled = true;
    await enter(form).catch((error) => showError(form, error));
    button.disabled = false;
  });
}
find("sign-out").addEventListener("click", () => {
  session.signOut();
  location.assign("/");
});
show();
