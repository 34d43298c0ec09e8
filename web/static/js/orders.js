// My orders: open orders with their buttons, finished orders, and fills.
import { signal } from "@preact/signals";
import { grouped, short, toUnits, trimmed } from "./decimal.js";
import { loadOlder, loading, olderThan, past } from "./history.js";
import { html } from "./html.js";
import { ENDED, fillsOf, STATES } from "./lifecycle.js";
import { PeerBadge } from "./peers.js";
import { account, cancelAll, cancelOrder, changeOrder, columnPlaces, marketName, mayRead, openOrders, orders, places } from "./store.js";
import { clock } from "./tape.js";
import { toast } from "./toasts.js";

const ROWS = 100; // at first, and as many more for each “Older”
const rowsShown = signal(ROWS);
const OPEN_MAX = 100;
const tab = signal("open");
const leaving = signal(new Set()); // ids with a pending cancel or change
const asking = signal(false); // the page asks whether to cancel all
const editing = signal(null); // { id, price, quantity } as typed, while one order is edited

async function cancel(order) {
  leaving.value = new Set(leaving.value).add(order.id);
  const reply = await cancelOrder(order.id);
  const rest = new Set(leaving.value);
  rest.delete(order.id);
  leaving.value = rest;
  const failed = reply.error?.detail ?? (reply.result.status === "rejected" && reply.result.detail);
  if (failed) toast("bad", "Not cancelled.", failed);
}

// The typed values that differ from the order; an empty object if none do, null if one is not an amount.
function changeOf({ price, quantity }, order) {
  const change = {};
  for (const [name, typed, known] of [["price", price, order.price], ["quantity", quantity, order.remaining]]) {
    if (known === null) continue; // a stop order without a limit
    const units = toUnits(typed, places.value[name]);
    if (!units) return null;
    if (units !== toUnits(known, places.value[name])) change[name] = typed.trim();
  }
  return change;
}

async function saveEdit(order) {
  const change = changeOf(editing.value, order);
  if (!change) return;
  editing.value = null;
  if (!Object.keys(change).length) return;
  leaving.value = new Set(leaving.value).add(order.id);
  const reply = await changeOrder(order.id, change);
  const rest = new Set(leaving.value);
  rest.delete(order.id);
  leaving.value = rest;
  const failed = reply.error?.detail ?? (reply.result.status === "rejected" && reply.result.detail);
  if (failed) toast("bad", "Not changed.", failed);
}

export function cancelNewest() {
  const [newest] = openOrders.value.filter((order) => !leaving.value.has(order.id));
  if (newest) cancel(newest);
}

export function cancelEverything() {
  if (openOrders.value.length) asking.value = true;
}

async function reallyCancelAll() {
  asking.value = false;
  for (const order of openOrders.value.filter(({ status }) => status === "pending")) cancel(order);
  const reply = await cancelAll();
  if (!reply.ok) toast("bad", "Not cancelled.", reply.error.detail);
  else toast("good", "Cancelled", `${reply.result.cancelled.length} orders.`);
}

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
  return html`<td class="amount">
    <span class="progress" style=${{ "--share": `${share}%` }} title="${trimmed(order.filled ?? "0")} of ${trimmed(order.quantity ?? "0")} traded">
      ${short(order.filled ?? "0")}<span class="quiet"> / ${short(order.quantity ?? "0")}</span>
    </span>
  </td>`;
}

const startEdit = (order) =>
  (editing.value = { id: order.id, price: trimmed(order.price ?? "", places.value.price), quantity: trimmed(order.remaining) });

function EditCell({ order, name, label }) {
  const typed = editing.value[name];
  const wrong = !toUnits(typed, places.value[name]);
  const onKeyDown = (event) => {
    if (event.key === "Enter") saveEdit(order);
    if (event.key === "Escape") editing.value = null;
    if (event.key === "Enter" || event.key === "Escape") event.stopPropagation();
  };
  return html`<td class="amount">
    <input
      class="edit"
      inputmode="decimal"
      autocomplete="off"
      aria-label="${label} of order ${order.id}"
      aria-invalid=${wrong ? "true" : "false"}
      value=${typed}
      ref=${name === "quantity" ? focusOnce : null}
      onInput=${(event) => (editing.value = { ...editing.value, [name]: event.target.value })}
      onKeyDown=${onKeyDown}
    />
  </td>`;
}

function focusOnce(input) {
  if (!input || input.dataset.focused) return;
  input.dataset.focused = "yes";
  input.focus();
  input.select();
}

const EditRow = ({ order }) => html`<tr class="editing">
  <td class="time">${clock(order.time)}</td>
  <td class="id"><${PeerBadge} id=${order.id} /> <span>${order.id}</span></td>
  <td><span class="side ${order.side}">${order.side === "buy" ? "Buy" : "Sell"}</span></td>
  <td class="kind">${kindOf(order)}</td>
  ${order.price ? html`<${EditCell} order=${order} name="price" label="Price" />` : html`<td class="amount">market</td>`}
  <${EditCell} order=${order} name="quantity" label="Open quantity" />
  <td><${State} order=${order} /></td>
  <td class="end">
    <button class="button small" disabled=${!changeOf(editing.value, order)} title="A smaller quantity alone keeps the order's place in the queue" onClick=${() => saveEdit(order)}>
      Save
    </button>
    <button class="button small" onClick=${() => (editing.value = null)}>Back</button>
  </td>
</tr>`;

const Cells = ({ order }) => html`
  <td class="time">${clock(order.time)}</td>
  <td class="id"><${PeerBadge} id=${order.id} /> <span>${order.id}</span></td>
  <td><span class="side ${order.side}">${order.side === "buy" ? "Buy" : "Sell"}</span></td>
  <td class="kind">${kindOf(order)}</td>
  <td class="amount">${order.price ? grouped(order.price) : order.stop_price ? `stop ${grouped(order.stop_price)}` : "market"}</td>
  <${Filled} order=${order} />
  <td><${State} order=${order} /></td>
`;

const OpenRow = ({ order }) => html`<tr class=${order.status}>
  <${Cells} order=${order} />
  <td class="end">
    ${order.status === "pending"
      ? null
      : html`<button class="button small" disabled=${leaving.value.has(order.id)} aria-label="Edit order ${order.id}" onClick=${() => startEdit(order)}>
          Edit
        </button>`}
    <button class="button small" disabled=${leaving.value.has(order.id)} aria-label="Cancel order ${order.id}" onClick=${() => cancel(order)}>
      Cancel
    </button>
  </td>
</tr>`;

const PastRow = ({ order }) => html`<tr class=${order.status}>
  <${Cells} order=${order} />
  <td class="reason">${order.detail ?? ""}</td>
</tr>`;

const FillRow = ({ fill }) => html`<tr>
  <td class="time">${clock(fill.order.time)}</td>
  <td class="id"><${PeerBadge} id=${fill.order.id} /> <span>${fill.order.id}</span></td>
  <td><span class="side ${fill.order.side}">${fill.order.side === "buy" ? "Buy" : "Sell"}</span></td>
  <td class="amount">${grouped(fill.price)}</td>
  <td class="amount">${trimmed(fill.quantity, columnPlaces())}</td>
  <td>${fill.maker ? "maker" : "taker"}</td>
</tr>`;

const HEADS = {
  open: ["Time", "Order", "Side", "Type", "Price", "Filled", "State", ""],
  history: ["Time", "Order", "Side", "Type", "Price", "Filled", "State", "Reason"],
  fills: ["Time", "Order", "Side", "Price", "Quantity", "Role"],
};
const RIGHT = new Set(["Price", "Filled", "Quantity"]);

function rowsOf(name) {
  const known = [...orders.value.values(), ...(name === "open" ? [] : olderThan(orders.value))];
  const all = known.filter((order) => order.market === marketName.value);
  if (name === "fills") {
    return fillsOf(all).map((fill) => html`<${FillRow} key="${fill.order.id}/${fill.index}" fill=${fill} />`);
  }
  if (name === "history") {
    return all.filter((order) => ENDED.has(order.status)).map((order) => html`<${PastRow} key=${order.id} order=${order} />`);
  }
  return openOrders.value
    .filter((order) => order.market === marketName.value)
    .map((order) => html`<${editing.value?.id === order.id ? EditRow : OpenRow} key=${order.id} order=${order} />`);
}

const NOTHING = { open: "No open orders.", history: "No order has ended yet.", fills: "Nothing has traded yet." };

function choose(name) {
  rowsShown.value = ROWS;
  tab.value = name;
}

async function showOlder(count) {
  if (count <= rowsShown.value) await loadOlder();
  rowsShown.value += ROWS;
}

// Below the finished orders: a button to load older ones, or the time before which the peer knows none.
function Older({ count }) {
  const { whole, since, failed } = past.value;
  const all = whole && count <= rowsShown.value;
  if (all && since === 0) return null;
  if (all) return html`<p class="nothing">${since ? `This peer does not know orders that ended before ${new Date(since).toLocaleString()}.` : "This peer does not know earlier orders."}</p>`;
  return html`<p class="nothing older">
    <button class="button small" disabled=${loading.value} onClick=${() => showOlder(count)}>${loading.value ? "Loading…" : "Older"}</button>
    ${failed ? html`<span class="error" role="alert">${failed}</span>` : null}
  </p>`;
}

const Tab = ({ name, label }) => html`<button
  role="tab"
  id="orders-tab-${name}"
  aria-selected=${tab.value === name ? "true" : "false"}
  aria-controls="orders-table"
  onClick=${() => choose(name)}
>
  ${label}
</button>`;

const CancelAll = () => html`<button class="button small" disabled=${!openOrders.value.length} onClick=${cancelEverything}>
    Cancel all
  </button>
  ${asking.value
    ? html`<span class="asking" role="alertdialog" aria-label="Cancel all orders?">
        Cancel all ${openOrders.value.length}?
        <button class="button small danger" autofocus onClick=${reallyCancelAll}>Yes</button>
        <button class="button small" onClick=${() => (asking.value = false)}>No</button>
      </span>`
    : null}`;

export function OrdersPanel() {
  const rows = rowsOf(tab.value);
  return html`<section class="panel orders" data-panel="orders" aria-label="My orders">
    <header class="panel-head">
      <h2 class="hidden">My orders</h2>
      <div class="tablist" role="tablist" aria-label="My orders">
        <${Tab} name="open" label=${`Open orders (${openOrders.value.length})`} />
        <${Tab} name="history" label="History" />
        <${Tab} name="fills" label="Fills" />
      </div>
      <div class="panel-end"><${CancelAll} /></div>
    </header>
    <div class="scroll" id="orders-table" role="tabpanel" aria-labelledby="orders-tab-${tab.value}" tabindex="0">
      <table>
        <caption class="hidden">Orders of ${account.value}</caption>
        <thead>
          <tr>
            ${HEADS[tab.value].map((head) => html`<th key=${head} scope="col" class="${head.toLowerCase()} ${RIGHT.has(head) ? "amount" : ""}">${head || html`<span class="hidden">Action</span>`}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.slice(0, tab.value === "open" ? OPEN_MAX : rowsShown.value)}
        </tbody>
      </table>
      ${rows.length ? null : html`<p class="nothing">${NOTHING[tab.value]}</p>`}
      ${tab.value === "open" || !mayRead.value ? null : html`<${Older} count=${rows.length} />`}
    </div>
  </section>`;
}
