import { find, make, setText } from "./dom.js";
import { session } from "./header.js";
import { BADGES } from "./states.js";
import { counted, day, money } from "./words.js";

let page = 1;

/** @param {{href: string, title: string, detail: string, status: string, total: string}} entry */
const entry = ({ href, title, detail, status, total }) =>
  make(
    "li",
    {},
    make(
      "a",
      { href },
      make("strong", {}, title),
      make("span", { className: "badge", data: { status } }, BADGES[status] ?? status),
      make("span", { className: "quiet" }, detail),
      make("span", { className: "price" }, total),
    ),
  );

/** @param {any} order */
const orderEntry = (order) =>
  entry({
    href: `/orders/${order.number}/`,
    title: order.number,
    detail: `${day(order.created_at)}, ${order.lines.map((/** @type {any} */ line) => line.name).join("; ")}`,
    status: order.status,
    total: money(order.amount_paise),
  });

/** @param {any} checkout without an order yet */
const checkoutEntry = (checkout) =>
  entry({
    href: `/checkout/${checkout.id}`,
    title: "Being placed",
    detail: counted(checkout.items_count, "kind"),
    status: checkout.status,
    total: money(checkout.amount_paise),
  });

async function loadPage() {
  const list = find("orders");
  if (page === 1) {
    const { content } = await session.request("GET", "checkouts/");
    const open = content.results.filter((/** @type {any} */ checkout) => !checkout.order && !checkout.poll.done);
    list.append(...open.map(checkoutEntry));
  }
  const { content } = await session.request("GET", `orders/?page=${page}`);
  list.append(...content.results.map(orderEntry));
  page += 1;
  find("more").hidden = !content.next;
  find("empty").hidden = list.childElementCount > 0;
}

async function show() {
  try {
    if (session.isKnown) await loadPage();
    else find("empty").hidden = false;
  } catch (error) {
    setText(find("problem"), /** @type {Error} */ (error).message);
  }
  find("loading").hidden = true;
  find("sign-in").hidden = Boolean(session.tokens?.email);
}

find("more").addEventListener("click", show);
show();
