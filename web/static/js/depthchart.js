// Cumulative depth of both sides. Owns one uPlot from mount to unmount.
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { color } from "./colors.js";
import { fromUnits, grouped, trimmed } from "./decimal.js";
import { html } from "./html.js";
import { book, bookVersion, places } from "./store.js";
import { theme } from "./theme.js";

const LEVELS_MAX = 400; // per side
const REDRAW_MS = 200;
const WINDOW = 0.02; // at least this share of the middle price, on each side

// Columns for uPlot: prices rising, cumulative bids falling, cumulative asks rising.
function columns() {
  const scale = 10 ** places.value.quantity;
  const unit = 10 ** places.value.price;
  const [bids, asks] = [book.bids, book.asks].map((side) => {
    let total = 0;
    return side.best(LEVELS_MAX).map((level) => [level.units / unit, (total += level.size) / scale]);
  });
  const middle = bids.length && asks.length ? (bids[0][0] + asks[0][0]) / 2 : null;
  const near = ([price], index) => middle === null || index < 30 || Math.abs(price - middle) <= middle * WINDOW;
  const left = bids.filter(near).reverse();
  const right = asks.filter(near);
  return [
    [...left, ...right].map(([price]) => price),
    [...left.map(([, sum]) => sum), ...right.map(() => null)],
    [...left.map(() => null), ...right.map(([, sum]) => sum)],
  ];
}

function options(width, height) {
  const axis = { stroke: color("quiet"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "11px Inter" };
  const money = (value) => grouped(trimmed(value.toFixed(places.value.price), 0));
  const side = (label, stroke, fill, align) => ({
    label,
    stroke: color(stroke),
    fill: color(fill),
    width: 1.5,
    paths: uPlot.paths.stepped({ align }),
    points: { show: false },
    value: (_, value) => (value === null ? "—" : trimmed(value.toFixed(6))),
  });
  return {
    width,
    height,
    scales: { x: { time: false } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(money), space: 90 },
      { ...axis, side: 1, size: 56 },
    ],
    series: [
      { label: "Price", value: (_, value) => (value === null ? "—" : money(value)) },
      side("Bids", "bid", "bid-soft", -1),
      side("Asks", "ask", "ask-soft", 1),
    ],
    cursor: { y: false },
  };
}

const LEGEND_PX = 30;

export function DepthChart() {
  const element = useRef(null);
  useEffect(() => {
    const place = element.current; // the reference is empty when the observer is called for the last time
    let plot = null;
    let drawn = 0;
    let timer = 0;
    const size = () => [place.clientWidth, place.clientHeight - LEGEND_PX];
    const draw = () => {
      drawn = performance.now();
      plot?.setData(columns());
    };
    const watch = new ResizeObserver(() => {
      const [width, height] = size();
      if (place.isConnected) plot?.setSize({ width, height });
    });
    watch.observe(place);
    const stops = [
      effect(() => {
        theme.value;
        plot?.destroy();
        plot = new uPlot(options(...size()), columns(), place);
      }),
      effect(() => {
        bookVersion.value;
        clearTimeout(timer);
        timer = setTimeout(draw, Math.max(0, drawn + REDRAW_MS - performance.now()));
      }),
    ];
    return () => {
      stops.forEach((stop) => stop());
      clearTimeout(timer);
      watch.disconnect();
      plot?.destroy();
    };
  }, []);
  bookVersion.value;
  const best = (side) => (side.best(1)[0] ? fromUnits(side.best(1)[0].units, places.value.price) : "none");
  return html`<div
    class="chart depth"
    ref=${element}
    role="group"
    aria-label="Depth of the book: best bid ${best(book.bids)}, best ask ${best(book.asks)}"
  ></div>`;
}
