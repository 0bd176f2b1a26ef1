import { StorefrontError } from "../storefront.js";
import { find, tell } from "./dom.js";
import { mark, summarise } from "./form-errors.js";
import { cart, session } from "./header.js";

const summary = find("problem");

function show() {
  const email = session.tokens?.email;
  find("known").hidden = !email;
  find("forms").hidden = find("guest").hidden = Boolean(email);
  tell(find("email"), email);
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
function explain(form, error) {
  if (!(error instanceof StorefrontError)) throw error;
  const named = error.details?.fields ?? {};
  const wrong = Object.entries(named).map(([field, [sentence]]) => [
    form.elements.namedItem(field),
    sentence,
  ]);
  summarise(summary, wrong.length ? "Please look at this again:" : error.message, /** @type {any} */ (wrong));
}

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-enter]"))) {
  form.addEventListener("input", ({ target }) => mark(/** @type {any} */ (target), null));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    tell(summary, null);
    const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    button.disabled = true;
    await enter(form).catch((error) => explain(form, error));
    button.disabled = false;
  });
}
find("sign-out").addEventListener("click", () => {
  session.signOut();
  location.assign("/");
});
show();
