/**
 * A chart: uPlot on a canvas, in the colours of the page.
 *
 * @typedef {{label: string, ink: string, values: (number | null)[], as?: "line" | "bar",
 *   shown?: (value: number | null) => string, raw?: (number | null)[]}} Series
 * @typedef {{starts: number[], bucketSeconds: number, series: Series[], log?: boolean,
 *   axis?: (value: number) => string}} Drawing
 * @typedef {ReturnType<typeof import("./format.js").clocks>} Clocks
 */

import { make } from "../pages/dom.js";
import { NOTHING, count } from "./format.js";

// The library's classic script, loaded before this module; it has no types.
const uPlot = /** @type {any} */ (globalThis).uPlot;

const HEIGHT_PX = 210;
const FONT = "11px system-ui, sans-serif";
const DAY_SECONDS = 86_400;

/** The colour that the style sheet gives to a class. @param {Element} near @param {string} name */
function ink(near, name) {
  const probe = make("span", { className: `ops-ink-${name}`, hidden: true });
  near.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** @param {(value: number) => string} format
 *  @returns {(plot: any, values: (number | null)[]) => string[]} the labels of an axis */
const labels = (format) => (_plot, values) =>
  values.map((value) => (value == null ? "" : format(value)));

/** @type {(plot: any, min: number, max: number) => [number, number]} */
const from0 = (_plot, _min, max) => [0, Math.max(max * 1.1 || 0, 4)];

export class Chart {
  /** @param {HTMLElement} place @param {string} label @param {Clocks} clocks */
  constructor(place, label, clocks) {
    this.place = place;
    this.clocks = clocks;
    this.label = label;
    this.plot = /** @type {any} */ (null);
    this.shape = "";
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(place);
  }

  size() {
    return { width: Math.max(200, Math.floor(this.place.clientWidth)), height: HEIGHT_PX };
  }

  /** @param {Drawing} drawing */
  draw(drawing) {
    const data = [drawing.starts, ...drawing.series.map((series) => series.values)];
    const shape = JSON.stringify([drawing.bucketSeconds, drawing.series.map(({ label }) => label)]);
    this.drawing = drawing;
    if (this.plot && shape === this.shape) {
      this.plot.setData(data);
    } else {
      this.shape = shape;
      this.plot?.destroy();
      this.plot = new uPlot(this.options(drawing), data, this.place);
      this.plot.root.setAttribute("role", "figure");
      this.plot.root.setAttribute("aria-label", this.label);
    }
    this.showLatest();
  }

  /** Show the latest bucket in the legend, unless the pointer is on another. */
  showLatest() {
    if (this.plot?.cursor.idx == null) this.plot?.setLegend({ idx: this.plot.data[0].length - 1 });
  }

  /** Draw again after the page has changed its colours. */
  repaint() {
    this.shape = "";
    if (this.drawing) this.draw(this.drawing);
  }

  /** @param {Drawing} drawing */
  options({ starts, bucketSeconds, series, log, axis = count }) {
    const grid = { stroke: ink(this.place, "grid"), width: 1 };
    const line = { stroke: ink(this.place, "quiet"), font: FONT, grid, ticks: { ...grid, size: 4 } };
    const isLong = bucketSeconds * starts.length > 1.5 * DAY_SECONDS;
    const clock = isLong ? this.clocks.day : this.clocks.time;
    const half = bucketSeconds / 2;
    return {
      ...this.size(),
      axes: [
        { ...line, space: 60, values: labels((seconds) => clock(seconds * 1000)) },
        { ...line, size: 54, values: labels(axis) },
      ],
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      hooks: { setCursor: [() => this.showLatest()] },
      scales: {
        // The whole range, empty buckets too.
        x: {
          time: true,
          range: (/** @type {any} */ { data: [at] }) => [at[0] - half, at.at(-1) + half],
        },
        y: log ? { distr: 3 } : { range: from0 },
      },
      series: [
        {
          label: "At",
          value: (/** @type {any} */ _plot, /** @type {number | null} */ at) =>
            at == null ? NOTHING : this.clocks.whole(at * 1000),
        },
        ...series.map((one, at) => this.seriesOptions(one, at)),
      ],
    };
  }

  /** @param {Series} series @param {number} at */
  seriesOptions({ label, ink: name, as, shown = count }, at) {
    const colour = ink(this.place, name);
    const look =
      as === "bar"
        ? { width: 0, fill: colour, paths: uPlot.paths.bars({ size: [0.8, 40] }), points: { show: false } }
        : { width: 2, paths: uPlot.paths.linear(), points: { show: this.drawing?.log, size: 4 } };
    return {
      label,
      stroke: colour,
      spanGaps: false,
      ...look,
      // The legend shows the own value of a stacked bar, not the sum that is drawn.
      value: (/** @type {any} */ _plot, /** @type {any} */ value, /** @type {any} */ _at, /** @type {any} */ place) =>
        shown(place == null ? null : (this.drawing?.series[at].raw?.[place] ?? value)),
    };
  }
}
