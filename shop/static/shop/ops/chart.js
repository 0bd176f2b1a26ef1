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
import { count } from "./format.js";

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

export class Chart {
  /** @param {HTMLElement} place @param {string} label @param {Clocks} clocks */
  constructor(place, label, clocks) {
    this.place = place;
    this.clocks = clocks;
    this.label = label;
    this.plot = /** @type {any} */ (null);
    this.shape = "";
    new ResizeObserver(() => this.fit()).observe(place);
  }

  fit() {
    if (this.plot && this.width() !== this.plot.width) {
      this.plot.setSize({ width: this.width(), height: HEIGHT_PX });
    }
  }

  width() {
    return Math.max(200, Math.floor(this.place.clientWidth));
  }

  /** @param {Drawing} drawing */
  draw(drawing) {
    const data = [drawing.starts, ...drawing.series.map((series) => series.values)];
    const shape = JSON.stringify([drawing.bucketSeconds, drawing.series.map(({ label }) => label)]);
    this.drawing = drawing;
    if (this.plot && shape === this.shape) {
      this.plot.setData(data);
      this.showLatest();
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(drawing), data, this.place);
    this.plot.root.setAttribute("role", "figure");
    this.plot.root.setAttribute("aria-label", this.label);
    this.showLatest();
  }

  /** Show the latest bucket in the legend, unless the pointer is on another. */
  showLatest() {
    if (this.plot?.cursor.idx == null) this.plot?.setLegend({ idx: this.plot.data[0].length - 1 });
  }

  /** Draw again after the page has changed its colours. */
  repaint() {
    if (!this.drawing) return;
    this.shape = "";
    this.draw(this.drawing);
  }

  /** @param {Drawing} drawing */
  options(drawing) {
    const quiet = ink(this.place, "quiet");
    const grid = { stroke: ink(this.place, "grid"), width: 1 };
    const axis = { stroke: quiet, font: FONT, grid, ticks: { ...grid, size: 4 } };
    const isLong = drawing.bucketSeconds * drawing.starts.length > 1.5 * DAY_SECONDS;
    const moment = isLong ? this.clocks.day : this.clocks.time;
    const left = drawing.axis ?? count;
    const axes = [
      {
        ...axis,
        space: 60,
        values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) =>
          ticks.map((at) => moment(at * 1000)),
      },
      {
        ...axis,
        size: 54,
        values: (/** @type {any} */ _plot, /** @type {(number | null)[]} */ ticks) =>
          ticks.map((value) => (value == null ? "" : left(value))),
      },
    ];
    const from0 = (/** @type {any} */ _plot, /** @type {number} */ _min, /** @type {number} */ max) =>
      [0, Math.max(max * 1.1 || 0, 4)];
    return {
      width: this.width(),
      height: HEIGHT_PX,
      axes,
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      hooks: { setCursor: [() => this.showLatest()] },
      scales: {
        x: { time: true, range: this.span(drawing) },
        y: drawing.log ? { distr: 3 } : { range: from0 },
      },
      series: [
        {
          label: "At",
          value: (/** @type {any} */ _plot, /** @type {number | null} */ at) =>
            at == null ? "–" : this.clocks.whole(at * 1000),
        },
        ...drawing.series.map((series, at) => this.seriesOptions(series, at)),
      ],
    };
  }

  /** The x axis shows the whole range, empty buckets too. @param {Drawing} drawing */
  span({ bucketSeconds }) {
    const half = bucketSeconds / 2;
    return (/** @type {any} */ plot) => {
      const starts = plot.data[0];
      return [starts[0] - half, starts.at(-1) + half];
    };
  }

  /** @param {Series} series @param {number} at */
  seriesOptions(series, at) {
    const colour = ink(this.place, series.ink);
    const isBar = series.as === "bar";
    return {
      label: series.label,
      stroke: colour,
      width: isBar ? 0 : 2,
      fill: isBar ? colour : undefined,
      paths: isBar ? uPlot.paths.bars({ size: [0.8, 40] }) : uPlot.paths.linear(),
      points: { show: isBar ? false : this.drawing?.log, size: 4 },
      spanGaps: false,
      // The legend shows the own value of a stacked bar, not the sum that is drawn.
      value: (/** @type {any} */ _plot, /** @type {number | null} */ value, /** @type {number} */ _series, /** @type {number | null} */ place) => {
        const now = this.drawing?.series[at];
        const own = place == null ? null : (now?.raw?.[place] ?? value);
        return (series.shown ?? count)(place == null ? null : own);
      },
    };
  }
}
