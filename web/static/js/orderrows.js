// The columns of the tables of my orders, and their cells.
// Owns what each column shows on the page and in a CSV file. Must never act on an order by itself.
import { averageOf, short, toUnits, trimmed } from "./decimal.js";
import { amountOf } from "./typed.js";
import * as as from "./format.js";
import { html } from "./html.js";
import { STATES } from "./lifecycle.js";
import { cancel, changeOf, editing, leaving, marked, saveEdit } from "./orderactions.js";
import { locked, marketShown } from "./orderview.js";
import { placeText } from "./levelhint.js";
import { PeerBadge } from "./peers.js";
import { unrealizedOf } from "./positions.js";
import { queuePlaces } from "./queueplaces.js";
import { lastPrices, placesIn } from "./store.js";

const SIDES = { buy: "Buy", sell: "Sell" };

function State({ order }) {
  const [sign, word, title] = STATES[order.status];
  return html`<span class="state ${order.status}" title=${order.detail ?? title}>
    <span aria-hidden="true">${sign}</span> ${word}
  </span>`;
}

const kindOf = ({ type, tif, triggered }) =>
  [type.replace("_", " "), tif === "gtc" ? "" : tif.toUpperCase(), triggered === false ? "waiting" : ""].filter(Boolean).join(" · ");

function Filled({ order }) {
  const share = Number(order.quantity) ? (100 * Number(order.filled)) / Number(order.quantity) : 0;
  return html`<span
    class="progress"
    style=${{ "--share": `${share}%` }}
    title="${trimmed(order.filled ?? "0")} of ${trimmed(order.quantity ?? "0")} traded"
  >
    ${short(order.filled ?? "0")}<span class="quiet"> / ${short(order.quantity ?? "0")}</span>
  </span>`;
}

const averagePrice = (order) => averageOf(order.fills);

const startEdit = (order) =>
  (editing.value = {
    id: order.id,
    price: trimmed(order.price ?? "", placesIn(order.market).price),
    quantity: trimmed(order.remaining),
  });

function Edit({ order, name, label }) {
  const typed = editing.value[name];
  const wrong = !toUnits(amountOf(typed) ?? "", placesIn(order.market)[name]);
  const onKeyDown = (event) => {
    if (event.key === "Enter") saveEdit(order);
    if (event.key === "Escape") editing.value = null;
    if (event.key === "Enter" || event.key === "Escape") event.stopPropagation();
  };
  return html`<input
    class="edit"
    inputmode="decimal"
    autocomplete="off"
    aria-label="${label} of order ${order.id}"
    aria-invalid=${wrong ? "true" : "false"}
    value=${typed}
    ref=${name === "quantity" ? focusOnce : null}
    onInput=${(event) => (editing.value = { ...editing.value, [name]: event.target.value })}
    onKeyDown=${onKeyDown}
  />`;
}

function focusOnce(input) {
  if (!input || input.dataset.focused) return;
  input.dataset.focused = "yes";
  input.focus();
  input.select();
}

function Actions({ order }) {
  if (editing.value?.id === order.id) {
    return html`<button
        class="button small"
        disabled=${!changeOf(editing.value, order)}
        title="A smaller quantity alone keeps the order's place in the queue"
        onClick=${() => saveEdit(order)}
      >
        Save
      </button>
      <button class="button small" onClick=${() => (editing.value = null)}>Back</button>`;
  }
  const busy = leaving.value.has(order.id) || Boolean(locked.value);
  return html`${order.status === "pending"
      ? null
      : html`<button class="button small" disabled=${busy} aria-label="Edit order ${order.id}" onClick=${() => startEdit(order)}>Edit</button>`}
    <button
      class="button small ${marked.value?.id === order.id ? "danger" : ""}"
      disabled=${busy}
      aria-label="Cancel order ${order.id}"
      onClick=${() => cancel(order)}
    >
      Cancel
    </button>`;
}

const isEdited = (order) => editing.value?.id === order.id;
const hasAny = (name) => (orders) => orders.some((order) => order[name]);

// Each column: its head, its class, what it shows of a row, and the same as plain text for a file.
const time = { head: "Time", kind: "time", cell: (o) => html`<span title=${as.moment(o.time)}>${as.day(o.time)}</span>`, text: isoOf };
const market = { head: "Market", kind: "", cell: (o) => o.market, text: (o) => o.market, when: () => !marketShown.value };
const id = { head: "Order", kind: "id", cell: (o) => html`<${PeerBadge} id=${o.id} /> <span>${o.id}</span>`, text: (o) => o.id };
const side = { head: "Side", kind: "", cell: (o) => html`<span class="side ${o.side}">${SIDES[o.side]}</span>`, text: (o) => o.side };
const type = { head: "Type", kind: "kind", cell: kindOf, text: kindOf };
const price = {
  head: "Price",
  kind: "amount",
  cell: (o) =>
    isEdited(o) && o.price ? html`<${Edit} order=${o} name="price" label="Price" />` : o.price ? as.price(o.price) : "market",
  text: (o) => o.price ?? "",
};
const stop = {
  head: "Stop",
  kind: "amount",
  cell: (o) => (o.stop_price ? as.price(o.stop_price) : ""),
  text: (o) => o.stop_price ?? "",
  when: hasAny("stop_price"),
};
const ahead = {
  head: "Ahead",
  kind: "amount ahead",
  cell: (o) => {
    const place = queuePlaces.value.get(o.id);
    return place && html`<span title=${placeText(o.id)}>${place.complete ? "" : ">"}${short(trimmed(place.quantity))}</span>`;
  },
  text: (o) => queuePlaces.value.get(o.id)?.quantity ?? "",
  when: (orders) => orders.some(({ id: number }) => queuePlaces.value.has(number)),
};
const average = {
  head: "Average",
  kind: "amount",
  cell: (o) => (averagePrice(o) ? html`<span title="Average price of its trades">${as.price(averagePrice(o))}</span>` : ""),
  text: (o) => averagePrice(o) ?? "",
};
const filled = {
  head: "Filled",
  kind: "amount",
  cell: (o) => (isEdited(o) ? html`<${Edit} order=${o} name="quantity" label="Open quantity" />` : html`<${Filled} order=${o} />`),
  text: (o) => `${o.filled} / ${o.quantity}`,
};
const display = {
  head: "Shown",
  kind: "amount",
  cell: (o) => (o.display ? html`<span title="Iceberg: the book shows this much at a time">${short(o.display)}</span>` : ""),
  text: (o) => o.display ?? "",
  when: hasAny("display"),
};
const expire = {
  head: "Expires",
  kind: "time",
  cell: (o) => (o.expire ? html`<span title=${as.moment(o.expire)}>${as.day(o.expire)}</span>` : ""),
  text: (o) => (o.expire ? new Date(o.expire).toISOString() : ""),
  when: hasAny("expire"),
};
const state = { head: "State", kind: "", cell: (o) => html`<${State} order=${o} />`, text: (o) => o.status };
const actions = { head: "", kind: "end", cell: (o) => html`<${Actions} order=${o} />` };
const reason = { head: "Reason", kind: "reason", cell: (o) => o.detail ?? "", text: (o) => o.detail ?? "" };

// The same of the order of a fill.
const ofOrder = (column) => ({ ...column, cell: (fill) => column.cell(fill.order), text: (fill) => column.text(fill.order) });
const trade = { head: "Trade", kind: "amount", cell: (f) => f.trade ?? "", text: (f) => f.trade ?? "" };
const fillPrice = { head: "Price", kind: "amount", cell: (f) => as.price(f.price), text: (f) => f.price };
const size = { head: "Quantity", kind: "amount", cell: (f) => as.quantity(f.quantity, 3), text: (f) => f.quantity };
const value = { head: "Value", kind: "amount", cell: (f) => as.amount(f.value), text: (f) => f.value };
const role = { head: "Role", kind: "", cell: (f) => (f.maker ? "maker" : "taker"), text: (f) => (f.maker ? "maker" : "taker") };

function isoOf({ time }) {
  return time ? new Date(time).toISOString() : "";
}

// A position, with the last price of its market if the page knows it.
const signed = (text, form = as.amount) => html`<span class=${text.startsWith("-") ? "down" : Number(text) ? "up" : ""}>${as.signed(text, form)}</span>`;
const gain = (p) => (lastPrices.value[p.market] ? unrealizedOf(p, lastPrices.value[p.market]) : null);
const positions = [
  { ...market, when: () => true },
  { head: "Position", kind: "amount", cell: (p) => signed(p.size, as.quantity), text: (p) => p.size },
  { head: "Average", kind: "amount", cell: (p) => (p.average ? as.price(p.average) : ""), text: (p) => p.average ?? "" },
  {
    head: "Last price",
    kind: "amount",
    cell: (p) => as.price(lastPrices.value[p.market] ?? "—"),
    text: (p) => lastPrices.value[p.market] ?? "",
  },
  { head: "Unrealized", kind: "amount", cell: (p) => (gain(p) === null ? "" : signed(gain(p))), text: (p) => gain(p) ?? "" },
  { head: "Realized", kind: "amount", cell: (p) => signed(p.realized), text: (p) => p.realized },
  { head: "Bought", kind: "amount", cell: (p) => as.quantity(p.bought), text: (p) => p.bought },
  { head: "Sold", kind: "amount", cell: (p) => as.quantity(p.sold), text: (p) => p.sold },
  { head: "Fills", kind: "amount", cell: (p) => p.count, text: (p) => p.count },
];

const COLUMNS = {
  positions,
  open: [time, market, id, side, type, price, stop, filled, ahead, display, expire, state, actions],
  history: [time, market, id, side, type, price, average, stop, filled, display, expire, state, reason],
  fills: [time, ofOrder(market), trade, ofOrder(id), ofOrder(side), fillPrice, size, value, role],
};

// The columns of a table that these rows need.
export const columnsOf = (table, rows) => COLUMNS[table].filter((column) => !column.when || column.when(rows));
