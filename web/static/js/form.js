// The order in the form.
// Owns its fields, the checks that a browser can make, and sending. The peer checks everything again;
// its refusal is shown beside the field.
import { batch, computed, effect, signal } from "@preact/signals";
import { condition } from "./condition.js";
import { fromUnits, grouped, product, toUnits, trimmed } from "./decimal.js";
import { STATES } from "./lifecycle.js";
import { book, bookVersion, draft, market, mayTrade, placeOrder, places } from "./store.js";
import { toast } from "./toasts.js";

const EMPTY = { price: "", quantity: "", stop_price: "", display: "", expire: "" };

export const side = signal("buy");
export const type = signal("limit");
export const tif = signal("gtc");
export const postOnly = signal(false);
export const selfTrade = signal("none");
export const fields = signal(EMPTY);
export const refusals = signal({}); // field -> the peer's text
export const sending = signal(0);
export const oneClick = signal(false); // a click on a price in the book sends an order

export const isPriced = computed(() => type.value === "limit" || type.value === "stop_limit");
export const isStop = computed(() => type.value.startsWith("stop"));
export const mayRest = computed(() => isPriced.value && (tif.value === "gtc" || tif.value === "gtd"));

export function write(name, value) {
  batch(() => {
    fields.value = { ...fields.value, [name]: value };
    const { [name]: _, ...rest } = refusals.value;
    refusals.value = rest;
  });
}

export function clear() {
  oneClick.value = false;
  fields.value = EMPTY;
  refusals.value = {};
}

// Takes over a click in the book.
effect(() => {
  const { price, quantity, side: wanted } = draft.value;
  if (price === undefined) return;
  batch(() => {
    if (wanted) side.value = wanted;
    if (!isPriced.peek()) type.value = "limit";
    fields.value = { ...fields.peek(), price, ...(quantity && { quantity }) };
    refusals.value = {};
  });
});

function stepError(text, step, label) {
  const units = toUnits(text, stepPlaces(step));
  if (units === null) return /^[\d.\s]*$/.test(text) ? `${label} goes in steps of ${step}` : `${label} is a number such as 100.5`;
  if (units <= 0) return `${label} is more than zero`;
  return units % Number(step.replace(".", "")) ? `${label} goes in steps of ${step}` : null;
}

const stepPlaces = (step) => (step.split(".")[1] ?? "").length;

// Field -> its error, for fields that are filled in.
export const mistakes = computed(() => {
  const found = {};
  const { tick, lot, quantity_min: least } = market.value ?? { tick: "1", lot: "1", quantity_min: "0" };
  const { price, quantity, stop_price: stop, display } = fields.value;
  const check = (name, text, step, label) => {
    const error = text && stepError(text, step, label);
    if (error) found[name] = error;
  };
  if (isPriced.value) check("price", price, tick, "The price");
  if (isStop.value) check("stop_price", stop, tick, "The stop price");
  check("quantity", quantity, lot, "The quantity");
  check("display", display, lot, "The shown quantity");
  const units = (text) => toUnits(text, places.value.quantity);
  if (quantity && !found.quantity && units(quantity) < units(least)) found.quantity = `At least ${trimmed(least)}`;
  if (display && !found.display && units(display) > units(quantity)) found.display = "At most the quantity";
  return { ...found, ...refusals.value };
});

const isMissing = computed(() => {
  const { price, quantity, stop_price: stop, expire } = fields.value;
  return !quantity || (isPriced.value && !price) || (isStop.value && !stop) || (tif.value === "gtd" && !expire);
});

// Why the order can't be sent now; empty if it can.
export const hindrance = computed(() => {
  if (condition.value.blocked) return condition.value.blocked;
  if (!mayTrade.value) return "This page is read-only: it has no key or session for this account";
  if (Object.keys(mistakes.value).length) return "Correct the fields above";
  return isMissing.value ? "Fill in the fields" : "";
});

// The total of the order, and its fills if it would trade at once.
export const estimate = computed(() => {
  bookVersion.value;
  const { price, quantity } = fields.value;
  const { price: priceAt, quantity: lotAt } = places.value;
  const amount = toUnits(quantity, lotAt);
  if (!amount || mistakes.value.quantity || mistakes.value.price) return null;
  if (isPriced.value) {
    const units = toUnits(price, priceAt);
    if (!units) return null;
    const best = (side.value === "buy" ? book.asks : book.bids).best(1)[0];
    const crosses = best && !isStop.value && (side.value === "buy" ? units >= best.units : units <= best.units);
    return { total: grouped(product(units, priceAt, amount, lotAt)), crosses: Boolean(crosses) };
  }
  return type.value === "market" ? sweep(amount, priceAt, lotAt) : null;
});

// The cost of a market order, level by level.
function sweep(amount, priceAt, lotAt) {
  let left = amount;
  let cost = 0n;
  let last = null;
  for (const level of (side.value === "buy" ? book.asks : book.bids).best(1000)) {
    const taken = Math.min(left, level.size);
    cost += BigInt(taken) * BigInt(level.units);
    left -= taken;
    last = level.price;
    if (!left) break;
  }
  const bought = amount - left;
  const missing = left ? trimmed(fromUnits(left, lotAt)) : null;
  if (!bought) return { total: null, missing };
  const average = trimmed(fromUnits(cost / BigInt(bought), priceAt), 2);
  return { total: grouped(trimmed(fromUnits(cost, priceAt + lotAt), 2)), average: grouped(average), worst: grouped(trimmed(last, 2)), missing };
}

function order() {
  const { price, quantity, stop_price: stop, display, expire } = fields.value;
  return {
    side: side.value,
    type: type.value,
    quantity: quantity.trim(),
    ...(isPriced.value && { price: price.trim(), tif: tif.value }),
    ...(isStop.value && { stop_price: stop.trim() }),
    ...(mayRest.value && postOnly.value && { post_only: true }),
    ...(mayRest.value && display && { display: display.trim() }),
    ...(tif.value === "gtd" && isPriced.value && { expire: new Date(expire).getTime() }),
    ...(selfTrade.value !== "none" && { self_trade: selfTrade.value }),
  };
}

// Sends an order after a click on a price, while one-click trading is on.
export function sendAt(price, wanted) {
  batch(() => {
    side.value = wanted;
    type.value = "limit";
    write("price", price);
  });
  if (!fields.value.quantity) toast("warn", "Not sent.", "One click sends the quantity in the form: fill it in first.");
  else if (hindrance.value) toast("warn", "Not sent.", `${hindrance.value}.`);
  else send({ again: true });
}

// With `again` the form keeps the quantity for the next order.
export async function send({ again = false } = {}) {
  if (hindrance.value) return;
  const sent = order();
  const what = `${sent.side === "buy" ? "Buy" : "Sell"} ${sent.quantity}${sent.price ? ` at ${sent.price}` : ""}`;
  batch(() => {
    sending.value++;
    refusals.value = {};
  });
  const slow = setTimeout(() => toast("note", "Pending", `${what}: waiting to be ordered by the peers.`), 1500);
  const reply = await placeOrder(sent);
  clearTimeout(slow);
  sending.value--;
  report(reply, what, again);
}

function report(reply, what, again) {
  if (!reply.ok) {
    const { field, detail } = reply.error;
    refusals.value = { [field || "form"]: detail };
    return;
  }
  const { status, detail, reason, filled, remaining } = reply.result;
  if (status === "rejected") {
    refusals.value = { [FIELD_OF[reason] ?? "form"]: detail };
    return;
  }
  const [, word] = STATES[status];
  const part = status === "partly_filled" || (status === "expired" && Number(filled)) ? ` ${trimmed(filled)} traded, ${trimmed(remaining)} ${status === "expired" ? "expired" : "open"}.` : "";
  toast(status === "expired" && !Number(filled) ? "warn" : "good", word, `${what}.${part}`);
  if (!again) write("quantity", "");
}

const FIELD_OF = {
  invalid_price: "price",
  outside_price_band: "price",
  would_cross: "price",
  invalid_stop_price: "stop_price",
  invalid_quantity: "quantity",
  quantity_too_small: "quantity",
  quantity_too_large: "quantity",
  invalid_display: "display",
  invalid_expiry: "expire",
};
