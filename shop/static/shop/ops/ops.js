/** The operations page: loads the figures every few seconds and shows them. */

import { find, setText } from "../pages/dom.js";
import { Chart } from "./chart.js";
import { carts, checkouts, times } from "./chart_data.js";
import { note, updateAges } from "./elements.js";
import { clocks, perBucket } from "./format.js";
import * as panels from "./panels.js";
import { SignedOut, fetchFigures, poll } from "./polling.js";

const TICK_MS = 1_000;
/** @type {Record<string, (span: any) => import("./chart.js").Drawing>} */
const DRAWINGS = { checkouts, times, carts };

const root = find("ops");
const clock = clocks(root.dataset.timeZone);
/** @type {Record<string, Chart>} */
const charts = Object.fromEntries(
  [...root.querySelectorAll("[data-chart]")].map((place) => {
    const title = place.parentElement.querySelector("h2").textContent.trim();
    return [place.dataset.chart, new Chart(place, title, clock)];
  }),
);
/** The figures that each panel shows, as JSON. @type {Record<string, string>} */
const shownFigures = {};

/** The query of the range, from the page's address. */
const query = () => location.search || "?range=1h";

/** Rebuild a panel if its figures have changed; else a selection or the focus would be lost.
 *  @param {string} name @param {unknown} figures @param {() => Node[]} build */
function fill(name, figures, build) {
  const json = JSON.stringify(figures);
  if (shownFigures[name] === json) return;
  shownFigures[name] = json;
  find(name, root).replaceChildren(...build());
}

/** @param {any} figures */
function show(figures) {
  const { current, span } = figures;
  fill("attention", current.attention, () => panels.attention(current));
  fill("tiles", figures, () => panels.tiles(figures));
  fill("stuck", current.stuck, () => panels.stuck(current));
  fill("queues", [current.steps, current.queues, current.heartbeats], () =>
    panels.queues(current, Date.now()),
  );
  fill("breaker", current.breaker, () => panels.breaker(current, clock.exact));
  fill("webhooks", [span.webhooks, current.webhooks], () => panels.webhooks(figures));
  fill("money", [current.refunds, current.cases], () => panels.money(current));
  fill("stock", current.stock, () => panels.stock(current));
  for (const [name, part, build] of /** @type {const} */ ([
    ["funnel", span.checkouts, panels.funnel],
    ["times", span.times, panels.times],
    ["reasons", span.reasons, panels.reasons],
    ["carts", span.carts, panels.carts],
  ])) {
    fill(name, part, () => (part ? build(span) : [note("This took too long. Try a shorter range.")]));
  }
  for (const [name, chart] of Object.entries(charts)) {
    if (span[name]) chart.draw(DRAWINGS[name](span));
  }
  find("stuck-count", root).textContent = current.stuck.count ? String(current.stuck.count) : "";
  for (const per of root.querySelectorAll("[data-per]")) per.textContent = perBucket(span.bucket_seconds);
  const [since, until] = [span.since, span.until].map((at) => clock.whole(Date.parse(at)));
  setText(find("as-of", root), `${since} – ${until} · as of ${clock.exact(Date.parse(current.as_of))}`);
  updateAges(root, Date.now());
}

/** @param {Error | null} error @param {number | null} lastMs */
function onError(error, lastMs) {
  root.classList.toggle("ops-stale", error !== null);
  if (!error) return setText(find("error", root), null);
  const stale = lastMs === null ? "" : ` The figures are stale: they are from ${clock.exact(lastMs)}.`;
  setText(find("error", root), `${error.message}${stale}`);
  if (error instanceof SignedOut) {
    const signIn = document.createElement("a");
    signIn.href = root.dataset.signIn;
    signIn.textContent = "Sign in";
    find("error", root).append(" ", signIn);
  }
}

/** Mark the chosen range, and point the CSV links to it. */
function markRange() {
  const chosen = new URLSearchParams(query());
  for (const link of root.querySelectorAll("[data-range]")) {
    const isChosen = !chosen.has("from") && link.dataset.range === (chosen.get("range") ?? "1h");
    if (isChosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const link of root.querySelectorAll("[data-csv]")) {
    link.href = `${link.dataset.csv}.csv${query()}`;
  }
  const custom = find("custom", root);
  custom.open = chosen.has("from");
  for (const name of ["from", "to"]) {
    custom.querySelector(`[name=${name}]`).value = chosen.get(name) ?? "";
  }
}

const polling = poll(
  { load: () => fetchFigures(`${root.dataset.url}${query()}`, fetch.bind(globalThis)), show, onError },
  {
    page: document,
    setTimeout: setTimeout.bind(globalThis),
    clearTimeout: clearTimeout.bind(globalThis),
    now: Date.now,
  },
);

function showRange() {
  markRange();
  polling.refresh();
}

/** @param {string} search */
function choose(search) {
  history.pushState(null, "", search);
  showRange();
}

root.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  const link = /** @type {Element} */ (event.target).closest("[data-range]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(/** @type {HTMLAnchorElement} */ (link).search);
});
find("custom", root).addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const given = [...form].filter(([, value]) => value).map(([name, value]) => [name, String(value)]);
  choose(`?${new URLSearchParams(given)}`);
});
addEventListener("popstate", showRange);

const repaint = () => Object.values(charts).forEach((chart) => chart.repaint());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });

setInterval(() => updateAges(root, Date.now()), TICK_MS);
showRange();
