// My orders: open orders with their buttons, finished orders, and fills, with their filters.
import { signal } from "@preact/signals";
import { Choice } from "./choice.js";
import { csvOf, download } from "./csv.js";
import * as as from "./format.js";
import { loadOlder, loading, past } from "./history.js";
import { html } from "./html.js";
import { asking, askToCancelAll, cancelShown, editing, leaving, marked, stopAsking } from "./orderactions.js";
import { columnsOf } from "./orderrows.js";
import { endedShown, fillsShown, isKnown, locked, marketShown, openHere, openShown, period, PERIODS, positionsShown, scope, side, tab } from "./orderview.js";
import { Tabs } from "./tabs.js";
import { account, loadPrices, marketName, mayRead, openOrders, session } from "./store.js";

const ROWS = 100; // at first, and as many more for each “Older” or “More”
const rowsShown = signal(ROWS);

const ROWS_OF = { open: openShown, history: endedShown, fills: fillsShown, positions: positionsShown };
const TABS = [
  ["open", "Open"],
  ["history", "History"],
  ["fills", "Fills"],
  ["positions", "Positions"],
];
const NOTHING = { open: "No open orders", history: "No order has ended yet", fills: "Nothing has traded yet", positions: "Nothing has traded yet" };

function nothingIn(name) {
  if (isKnown.value && name !== "open" && !past.value.whole) return loading.value ? "Loading…" : "None among the orders loaded here.";
  if (isKnown.value) return `${NOTHING[name]}${marketShown.value ? ` in ${marketShown.value}` : ""}.`;
  return session.value && !mayRead.value ? "This page has no account: it shows no orders." : "Not known yet.";
}

// What the tables are limited to, in words: “buy orders of BTC-USD”.
const what = () => `${side.value ? `${side.value} ` : ""}orders ${marketShown.value ? `of ${marketShown.value}` : "in all markets"}`;

export function choose(name) {
  rowsShown.value = ROWS;
  tab.value = name;
  if (name === "positions") loadPrices();
}

// The whole table as a file: all rows that the filters let through, times in UTC.
function exportTable() {
  const rows = ROWS_OF[tab.value].value;
  const columns = columnsOf(tab.value, rows).filter((column) => column.text);
  const name = ["orderbook", account.value.replace(/[^\w.-]/g, "_").slice(0, 40), marketShown.value || "all", tab.value];
  download(`${name.join("-")}.csv`, csvOf(columns.map(({ head }) => head), rows.map((row) => columns.map(({ text }) => text(row)))));
}

// What the sums of the positions rest on.
function Basis() {
  const { whole, since } = past.value;
  const count = positionsShown.value.reduce((sum, { count: of }) => sum + of, 0);
  const rest = !whole ? "; “Older” loads more" : since ? `; this peer knows none before ${as.moment(since)}` : "; these are all";
  return html`<p class="nothing">From the ${count} fills loaded here${rest}. By average cost, without fees.</p>`;
}

async function showOlder(count) {
  const isWanted = (order) => !marketShown.peek() || order.market === marketShown.peek();
  if (count <= rowsShown.value) await loadOlder(isWanted);
  rowsShown.value += ROWS;
}

// Below the finished orders: a button to load older ones, or the time before which the peer knows none.
function Older({ count }) {
  const { whole, since, failed } = past.value;
  const all = whole && count <= rowsShown.value;
  if (all && since === 0) return null;
  if (all) {
    const text = since ? `This peer does not know orders that ended before ${as.moment(since)}.` : "This peer does not know earlier orders.";
    return html`<p class="nothing">${text}</p>`;
  }
  return html`<p class="nothing older">
    <button class="button small" disabled=${loading.value} onClick=${() => showOlder(count)}>${loading.value ? "Loading…" : "Older"}</button>
    ${failed ? html`<span class="error" role="alert">${failed}</span>` : null}
  </p>`;
}

function More({ count }) {
  const more = count - rowsShown.value;
  return more > 0
    ? html`<p class="nothing older">
        <button class="button small" onClick=${() => (rowsShown.value += ROWS)}>${Math.min(more, ROWS)} more of ${count}</button>
      </p>`
    : null;
}

function Scope() {
  const option = (name, label, count, where) => [
    name,
    isKnown.value ? html`${label} <span class="quiet">${count}</span>` : html`${label}`,
    isKnown.value ? `${count} open orders ${where}` : `Open orders ${where}`,
  ];
  const options = [
    option("market", marketName.value || "This market", openHere.value.length, `of ${marketName.value}`),
    option("all", html`All<span class="roomy"> markets</span>`, openOrders.value.length, "in all markets"),
  ];
  return html`<${Choice} kind="small scope" label="Which orders" value=${scope.value} options=${options} onPick=${(name) => (scope.value = name)} />`;
}

const Filters = () => html`<div class="filters">
  <${Scope} />
  ${tab.value === "positions" ? null : html`<select aria-label="Only buy or sell" value=${side.value} onChange=${(event) => (side.value = event.target.value)}>
    <option value="">Buy and sell</option>
    <option value="buy">Buy</option>
    <option value="sell">Sell</option>
  </select>`}
  ${tab.value === "open" || tab.value === "positions"
    ? null
    : html`<select aria-label="Only since" value=${period.value} onChange=${(event) => (period.value = Number(event.target.value))}>
        ${PERIODS.map(([ms, label]) => html`<option key=${ms} value=${ms}>${label}</option>`)}
      </select>`}
  <span class="filters-end">
    <button class="button small" disabled=${!ROWS_OF[tab.value].value.length} title="This table as a CSV file" onClick=${exportTable}>CSV</button>
    ${tab.value === "open" ? html`<${CancelAll} />` : null}
  </span>
</div>`;

const focus = (button) => button?.focus();

const CANCELS = [
  ["buy", "Cancel buys"],
  ["sell", "Cancel sells"],
];

// A button for each side, if the table has orders of both.
function CancelSides() {
  const counts = CANCELS.map(([of]) => openShown.value.filter((order) => order.side === of).length);
  if (counts.includes(0)) return null;
  return CANCELS.map(
    ([of, word], at) => html`<button key=${of} class="button small cancel-side" disabled=${Boolean(locked.value)} onClick=${() => askToCancelAll(of)}>
      ${word}${isKnown.value ? ` (${counts[at]})` : ""}
    </button>`,
  );
}

function CancelAll() {
  const count = openShown.value.length;
  if (asking.value) {
    return html`<span class="asking" role="alertdialog" aria-label="Cancel all orders?">
      Cancel ${count} ${what()}?
      <button class="button small danger" ref=${focus} onClick=${cancelShown}>Yes</button>
      <button class="button small" onClick=${stopAsking}>No</button>
    </span>`;
  }
  return html`<${CancelSides} />
    <button class="button small cancel-all" disabled=${!count || Boolean(locked.value)} title=${locked.value || `Cancel ${count} ${what()}`} onClick=${() => askToCancelAll()}>
      Cancel all${count && isKnown.value ? ` (${count})` : ""}
    </button>`;
}

const keyOf = (row) => (row.order ? `${row.order.id}/${row.index}` : row.id);
const isMarked = (row) => Boolean(marked.value) && marked.value.id === row.id;
const isEdited = (row) => Boolean(editing.value) && editing.value.id === row.id;
const classOf = (row) =>
  [row.status, isEdited(row) && "editing", isMarked(row) && "marked", leaving.value.has(row.id) && "leaving"].filter(Boolean).join(" ");

const Row = ({ row, columns }) => html`<tr class=${classOf(row)} ref=${isMarked(row) ? show : null}>
  ${columns.map(({ head, kind, cell }) => html`<td key=${head} class=${kind}>${cell(row)}</td>`)}
</tr>`;

const show = (row) => row?.scrollIntoView({ block: "nearest" });

function Table({ name, rows }) {
  const columns = columnsOf(name, rows);
  return html`<table>
    <caption class="hidden">Orders of ${account.value}</caption>
    <thead>
      <tr>
        ${columns.map(({ head, kind }) => html`<th key=${head} scope="col" class=${kind}>${head || html`<span class="hidden">Action</span>`}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${rows.slice(0, rowsShown.value).map((row) => html`<${Row} key=${keyOf(row)} ...${{ row, columns }} />`)}
    </tbody>
  </table>`;
}

const MarkedHint = () =>
  marked.value
    ? html`<p class="hint" role="status">
        ${marked.value.side === "buy" ? "Buy" : "Sell"} order ${marked.value.id} is marked: the same key cancels it, ↑ and ↓ mark another, Esc none.
      </p>`
    : null;

export function OrdersPanel() {
  const name = tab.value;
  const rows = ROWS_OF[name].value;
  return html`<section class="panel orders ${isKnown.value ? "" : "old"}" data-panel="orders" aria-label="My orders">
    <header class="panel-head">
      <h2 class="hidden">My orders</h2>
      <${Tabs}
        value=${name}
        options=${TABS.map(([key, label]) => [key, key === "open" && isKnown.value ? `${label} (${openShown.value.length})` : label])}
        label="My orders"
        onPick=${choose}
        prefix="orders"
        shows="orders-table"
      />
    </header>
    <${Filters} />
    <${MarkedHint} />
    <div class="scroll" id="orders-table" role="tabpanel" aria-labelledby="orders-tab-${name}" tabindex="0">
      <${Table} name=${name} rows=${rows} />
      ${rows.length ? null : html`<p class="nothing">${nothingIn(name)}</p>`}
      ${name === "positions" && rows.length ? html`<${Basis} />` : null}
      ${name === "open" ? html`<${More} count=${rows.length} />` : mayRead.value ? html`<${Older} count=${rows.length} />` : null}
    </div>
  </section>`;
}
