// What an order down to a level of the book would meet, beside the level under the pointer; and what
// stands before my orders there.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { averageInUnits, fromUnits, toBig, trimmed } from "./decimal.js";
import * as as from "./format.js";
import { html } from "./html.js";
import { queuePlaces } from "./queueplaces.js";
import { market, places } from "./store.js";

const WIDTH_PX = 240; // book.css knows it too
const GAP_PX = 8;
export const MINE_MAX = 3; // of my orders, told one by one

// The row of the ladder under the pointer or with the focus: its side, its index, its place on the screen.
export const pointed = signal(null);

export function point(event, side, index) {
  if (event.pointerType === "touch" || (event.type === "focusin" && !event.target.matches(":focus-visible"))) return;
  const { left, right, top } = event.currentTarget.getBoundingClientRect();
  pointed.value = { side, index, left, right, top };
}

export const unpoint = () => (pointed.value = null);

// The place in the queue of an order, in words; empty while it is not known.
export function placeText(id) {
  const place = queuePlaces.value.get(id);
  if (!place) return "";
  if (!place.orders && place.complete) return "first in the queue";
  const orders = `${place.orders} ${place.orders === 1 ? "order" : "orders"}`;
  return `behind ${place.complete ? "" : "over "}${as.quantity(trimmed(place.quantity))} in ${orders}`;
}

// The sum of levels with `units` and `size`: quantity, average price and value, as text.
export function sumOf(levels, { price, quantity }) {
  let [size, cost] = [0n, 0n];
  for (const level of levels) {
    const lots = toBig(level.quantity, quantity);
    [size, cost] = [size + lots, cost + lots * BigInt(level.units)];
  }
  return {
    quantity: as.quantity(fromUnits(size, quantity)),
    average: size ? as.price(averageInUnits(cost, size, price)) : "—",
    value: as.amount(fromUnits(cost, price + quantity)),
  };
}

const Line = ({ name, value }) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;

const Mine = ({ order }) => html`<p class="own-place">
  <span class="own" aria-hidden="true"></span>My ${as.quantity(trimmed(order.remaining))}${placeText(order.id) ? `, ${placeText(order.id)}` : ""}
</p>`;

// `levels` are all levels from the best one to the one that is pointed at; `mine` my orders there.
export function LevelHint({ levels, mine }) {
  const element = useRef(null);
  useEffect(() => element.current?.showPopover(), []);
  const { left, right, top } = pointed.value;
  const x = left > WIDTH_PX + GAP_PX ? left - WIDTH_PX - GAP_PX : right + GAP_PX;
  const [base, quote] = (market.value?.symbol ?? "").split("-");
  const sum = sumOf(levels, places.value);
  return html`<div class="level-hint" id="level-hint" popover="manual" role="tooltip" ref=${element} style=${{ left: `${x}px`, top: `${top}px` }}>
    <dl>
      <${Line} name="To here" value="${sum.quantity} ${base}" />
      <${Line} name="Average" value=${sum.average} />
      <${Line} name="Value" value="${sum.value} ${quote ?? ""}" />
    </dl>
    ${mine.slice(0, MINE_MAX).map((order) => html`<${Mine} key=${order.id} order=${order} />`)}
    ${mine.length > MINE_MAX ? html`<p class="quiet">and ${mine.length - MINE_MAX} more of mine</p>` : null}
  </div>`;
}
