// What a person does to open orders: cancel one, cancel all that are shown, change one.
// Owns the orders under way, the marked one and the one being edited. What a key or button cancels is
// always seen before.
import { computed, signal } from "@preact/signals";
import { toUnits } from "./decimal.js";
import { view } from "./layout.js";
import { locked, marketShown, openShown, side, tab } from "./orderview.js";
import { cancelAll, cancelOrder, changeOrder, placesIn } from "./store.js";
import { toast } from "./toasts.js";
import { amountOf } from "./typed.js";

export const leaving = signal(new Set()); // ids with a pending cancel or change
export const asking = signal(null); // { before } while the page asks whether to cancel all that are shown
export const editing = signal(null); // { id, price, quantity } as typed, while one order is edited
const markedId = signal(""); // the order that the next press of the key cancels
export const marked = computed(() => openShown.value.find((order) => order.id === markedId.value) ?? null);

async function whileLeaving(id, request, failed) {
  leaving.value = new Set(leaving.value).add(id);
  const reply = await request;
  const rest = new Set(leaving.value);
  rest.delete(id);
  leaving.value = rest;
  const why = reply.error?.detail ?? (reply.result.status === "rejected" && reply.result.detail);
  if (why) toast("bad", failed, why);
  return !why;
}

export const cancel = (order) => whileLeaving(order.id, cancelOrder(order.id), "Not cancelled.");

// The first press of the key marks the newest order in the table, the second cancels it.
export function cancelByKey() {
  if (tab.value !== "open") markedId.value = "";
  showOpen();
  requestAnimationFrame(() => document.getElementById("orders-table")?.focus({ preventScroll: true })); // for the arrows
  const order = marked.value;
  const next = openShown.value.find(({ id }) => id !== order?.id && !leaving.value.has(id));
  if (order && !leaving.value.has(order.id)) cancel(order);
  markedId.value = (order ? null : next?.id) ?? "";
}

function showOpen() {
  tab.value = "open";
  view.value = "orders"; // of a narrow screen
}

// Moves the mark up or down; true if there is one.
export function moveMark(step) {
  if (!marked.value) return false;
  const rows = openShown.value;
  const at = rows.indexOf(marked.value) + step;
  if (rows[at]) markedId.value = rows[at].id;
  return true;
}

// Ends the question, and shows the side again that was shown before it.
function endAsking() {
  if (asking.value) side.value = asking.value.before;
  asking.value = null;
}

// True if something was marked or asked.
export function stopAsking() {
  const was = Boolean(asking.value || marked.value);
  endAsking();
  markedId.value = "";
  return was;
}

// Asks about all orders in the table or, of these, about one side: the table shows them meanwhile.
export function askToCancelAll(of = "") {
  showOpen();
  endAsking();
  if (locked.value) return toast("warn", "Not now.", `${locked.value}.`);
  const before = side.value;
  side.value = of || before;
  if (openShown.value.length) asking.value = { before };
  else side.value = before;
}

export async function cancelShown() {
  for (const order of openShown.value) if (order.status === "pending") cancel(order);
  const [symbol, of] = [marketShown.value, side.value];
  endAsking();
  const reply = await cancelAll(symbol, of);
  if (!reply.ok) toast("bad", "Not cancelled.", reply.error.detail);
  else toast("good", "Cancelled", `${reply.result.cancelled?.length ?? 0} orders.`);
}

// The typed values that differ from the order; an empty object if none do, null if one is not an amount.
export function changeOf({ price, quantity }, order) {
  const change = {};
  const places = placesIn(order.market);
  for (const [name, typed, known] of [["price", price, order.price], ["quantity", quantity, order.remaining]]) {
    if (known === null) continue; // a stop order without a limit
    const text = amountOf(typed);
    const units = text && toUnits(text, places[name]);
    if (!units) return null;
    if (units !== toUnits(known, places[name])) change[name] = text;
  }
  return change;
}

export async function saveEdit(order) {
  const change = changeOf(editing.value, order);
  if (!change) return;
  editing.value = null;
  if (Object.keys(change).length) await applyChange(order, change);
}

export const applyChange = (order, change) => whileLeaving(order.id, changeOrder(order, change), "Not changed.");
