// My open orders on the chart: lines that can be dragged to another price.
// Owns the lines and the drag. Must never change an order before the pointer is released.
import { effect } from "@preact/signals";
import { color } from "./colors.js";
import { fromUnits, short, toUnits } from "./decimal.js";
import { confirmed } from "./confirm.js";
import * as as from "./format.js";
import { applyChange } from "./orderactions.js";
import { openHere } from "./orderview.js";
import { palette } from "./settings.js";
import { book, market, mayTrade, places } from "./store.js";
import { theme } from "./theme.js";

const NEAR_PX = 6;
const LINES_MAX = 100; // the newest

const placeOf = (order) => order.price ?? order.stop_price;
const colorOf = ({ side }) => color(side === "buy" ? "bid" : "ask");
const titleOf = (order) => `${order.side === "buy" ? "Buy" : "Sell"} ${short(order.remaining)}${order.price ? "" : " stop"}`;

// The text of the price at a height of the chart, on the market's tick; null outside of it.
export function priceAt(series, y) {
  const value = series.coordinateToPrice(y);
  const at = places.peek().price;
  const tick = toUnits(market.peek()?.tick ?? "", at);
  if (value === null || !tick) return null;
  const units = Math.round((value * 10 ** at) / tick) * tick;
  return units > 0 ? fromUnits(units, at) : null;
}

export class OrderLines {
  constructor(chart, series, element) {
    Object.assign(this, { chart, series, element });
    this.lines = new Map(); // id -> { order, line }
    this.dragged = null; // { order, line, price } while the pointer is down
    this.moved = false; // the last press was a drag, not a click
    this.end = new AbortController();
    const on = (name, handler) => element.addEventListener(name, handler, { capture: true, signal: this.end.signal });
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", () => this.release());
    on("pointercancel", () => this.drop());
    this.stop = effect(() => this.draw());
  }

  close() {
    this.stop();
    this.end.abort();
  }

  draw() {
    [theme.value, palette.value];
    const shown = new Map(openHere.value.filter(placeOf).slice(0, LINES_MAX).map((order) => [order.id, order]));
    for (const [id, { line }] of this.lines) {
      if (shown.has(id)) continue;
      this.series.removePriceLine(line);
      this.lines.delete(id);
    }
    for (const [id, order] of shown) {
      const options = { price: Number(placeOf(order)), color: colorOf(order), title: titleOf(order), lineWidth: 1, lineStyle: order.price ? 2 : 1 };
      const known = this.lines.get(id);
      if (!known) this.lines.set(id, { order, line: this.series.createPriceLine(options) });
      else if (known.order !== order || this.dragged?.order.id !== id) {
        known.line.applyOptions(this.dragged?.order.id === id ? { title: options.title } : options);
        known.order = order;
      }
    }
  }

  at(event) {
    const y = event.clientY - this.element.getBoundingClientRect().top;
    const away = ({ order }) => Math.abs((this.series.priceToCoordinate(Number(placeOf(order))) ?? Infinity) - y);
    const [nearest] = [...this.lines.values()].filter(({ order }) => order.price && order.status !== "pending").sort((a, b) => away(a) - away(b));
    return { y, found: nearest && away(nearest) <= NEAR_PX ? nearest : null };
  }

  press(event) {
    this.moved = false;
    const { found } = this.at(event);
    if (!found || !mayTrade.peek() || event.button) return;
    this.dragged = { ...found, price: found.order.price };
    this.chart.applyOptions({ handleScroll: false, handleScale: false });
    this.element.setPointerCapture(event.pointerId);
  }

  move(event) {
    const { y, found } = this.at(event);
    this.element.style.cursor = this.dragged || (found && mayTrade.peek()) ? "ns-resize" : "";
    const price = this.dragged && priceAt(this.series, y);
    if (!price || price === this.dragged.price) return;
    this.moved = true;
    this.dragged.price = price;
    this.dragged.line.applyOptions({ price: Number(price) });
  }

  release() {
    const { order, price } = this.drop() ?? {};
    if (order && price !== order.price) this.amend(order, price);
  }

  // Ends the drag; the line goes back to the order's price until the peers have changed it.
  drop() {
    const was = this.dragged;
    if (!was) return null;
    this.dragged = null;
    this.chart.applyOptions({ handleScroll: true, handleScale: true });
    was.line.applyOptions({ price: Number(was.order.price) });
    return was;
  }

  // Asks first if the order would trade at its new price.
  async amend(order, price) {
    const units = toUnits(price, places.peek().price);
    const best = (order.side === "buy" ? book.asks : book.bids).best(1)[0]?.units;
    const crosses = best !== undefined && (order.side === "buy" ? units >= best : units <= best);
    if (crosses) {
      const what = `Move ${titleOf(order)} from ${as.price(order.price)} to ${as.price(price)}`;
      if (!(await confirmed(what, ["It would trade at once."]))) return;
    }
    applyChange(order, { price });
  }
}
