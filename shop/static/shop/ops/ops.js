/** The operations page: asks for the figures, and shows them for as long as somebody looks. */

import { find, tell } from "../pages/dom.js";
import { SignedOut, ask } from "./ask.js";
import { Chart } from "./charts.js";
import * as drawings from "./drawings.js";
import { follow } from "./follow.js";
import * as panels from "./panels.js";
import { keepAges } from "./parts.js";
import { clocks, perBucket } from "./words.js";

const TICK_MS = 1_000;

const root = find("ops");
const clock = clocks(root.dataset.timeZone);
/** @type {Record<string, Chart>} */
const charts = Object.fromEntries(
  [...root.querySelectorAll("[data-chart]")].map((place) => {
    const title = place.parentElement.querySelector("h2").textContent.trim();
    return [place.dataset.chart, new Chart(place, title, clock)];
  }),
);
/** What each panel was last built from. @type {Record<string, string>} */
const built = {};

/** The query of the range that the address of the page names. */
const query = () => location.search || "?range=1h";

/** Build the panel anew if what it shows has changed, so that a selection or the focus stays.
 *  @param {string} name @param {unknown} part @param {() => Node[]} build */
function fill(name, part, build) {
  const text = JSON.stringify(part);
  if (built[name] === text) return;
  built[name] = text;
  find(name, root).replaceChildren(...build());
}

/** @param {any} answer */
function show(answer) {
  const { standing, span } = answer;
  const leftOut = "This takes too long just now. A shorter range may help.";
  /** @param {string} name @param {any} part @param {(from: any) => Node[]} build */
  const fillSpan = (name, part, build) =>
    fill(name, part, () => (part ? build(span) : [document.createTextNode(leftOut)]));

  fill("attention", standing.attention, () => panels.attention(standing));
  fill("tiles", [standing, span], () => panels.tiles(answer));
  fill("stuck", standing.stuck, () => panels.stuck(standing));
  fill("queues", [standing.steps, standing.queues, standing.signs_of_life], () =>
    panels.queues(standing, Date.now()),
  );
  fill("webhooks", [span.webhooks, standing.webhooks], () => panels.webhooks(answer));
  fill("money", [standing.refunds, standing.cases], () => panels.money(standing));
  fill("stock", standing.stock, () => panels.stock(standing));
  fillSpan("funnel", span.checkouts, panels.funnel);
  fillSpan("times", span.times, panels.times);
  fillSpan("reasons", span.reasons, panels.reasons);
  fillSpan("carts", span.carts, panels.carts);
  for (const [name, chart] of Object.entries(charts)) {
    if (span[name]) chart.draw(drawings[/** @type {keyof typeof drawings} */ (name)](span));
  }
  find("stuck-count", root).textContent = standing.stuck.count ? String(standing.stuck.count) : "";
  find("breaker", root).textContent = panels.breaker(standing.breaker);
  for (const per of root.querySelectorAll("[data-per]")) per.textContent = perBucket(span.bucket_seconds);
  tell(find("as-of", root), `${spoken(span)} · as of ${clock.exact(Date.parse(standing.as_of))}`);
  keepAges(root, Date.now());
}

/** @param {any} span */
const spoken = ({ since, until }) =>
  `${clock.whole(Date.parse(since))} – ${clock.whole(Date.parse(until))}`;

/** @param {Error | null} error @param {number | null} sinceMs */
function trouble(error, sinceMs) {
  root.classList.toggle("ops-stale", error !== null);
  if (!error) return tell(find("trouble", root), null);
  const since = sinceMs === null ? "" : ` These figures are of ${clock.exact(sinceMs)}, and stale.`;
  tell(find("trouble", root), `${error.message}${since}`);
  if (error instanceof SignedOut) {
    const again = document.createElement("a");
    again.href = root.dataset.signIn;
    again.textContent = "Sign in";
    find("trouble", root).append(" ", again);
  }
}

/** Mark the range that is shown, and have the tables as CSV be of the same. */
function nameRange() {
  const asked = new URLSearchParams(query());
  for (const link of root.querySelectorAll("[data-range]")) {
    const isShown = !asked.has("from") && link.dataset.range === (asked.get("range") ?? "1h");
    if (isShown) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const link of root.querySelectorAll("[data-csv]")) {
    link.href = `${link.dataset.csv}.csv${query()}`;
  }
  const custom = find("custom", root);
  custom.open = asked.has("from");
  for (const name of ["from", "to"]) {
    custom.querySelector(`[name=${name}]`).value = asked.get(name) ?? "";
  }
}

const watch = follow(
  { look: () => ask(`${root.dataset.url}${query()}`, fetch.bind(globalThis)), show, trouble },
  {
    page: document,
    setTimeout: setTimeout.bind(globalThis),
    clearTimeout: clearTimeout.bind(globalThis),
    now: Date.now,
  },
);

/** @param {string} search */
function go(search) {
  history.pushState(null, "", search);
  nameRange();
  watch.again();
}

root.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  const link = /** @type {Element} */ (event.target).closest("[data-range]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(/** @type {HTMLAnchorElement} */ (link).search);
});
find("custom", root).addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const named = [...form].filter(([, value]) => value).map(([name, value]) => [name, String(value)]);
  go(`?${new URLSearchParams(named)}`);
});
addEventListener("popstate", () => {
  nameRange();
  watch.again();
});

const repaint = () => Object.values(charts).forEach((chart) => chart.repaint());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });

setInterval(() => keepAges(root, Date.now()), TICK_MS);
nameRange();
watch.again();
