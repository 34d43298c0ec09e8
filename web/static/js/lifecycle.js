// My orders, made from messages. Owns which are kept, their order on the page and the words for their states. Pure.

import { times } from "./decimal.js";

const ENDED_MAX = 300;

export const NO_ORDERS = { open: new Map(), ended: new Map() }; // id -> order; the last that ended is last

// Status -> [sign, word, one line for a person].
export const STATES = {
  pending: ["◌", "Pending", "On disk here, not ordered by the peers yet: it can't have traded."],
  open: ["○", "Open", "In the book."],
  partly_filled: ["◐", "Partly filled", "Part has traded, the rest is in the book."],
  filled: ["●", "Filled", "All of it has traded."],
  cancelled: ["⊘", "Cancelled", "Removed from the book."],
  expired: ["◷", "Expired", "The part that did not trade has expired."],
  rejected: ["✕", "Rejected", "The market rejected it."],
};

// My orders after `message`. Every open order is kept; of the ended ones, the last ENDED_MAX. A snapshot
// replaces the open orders; the page keeps the ended ones that it knows.
export function mergeOrders({ open, ended }, message) {
  const fresh = message.type === "snapshot";
  const next = { open: fresh ? new Map() : new Map(open), ended: new Map(ended) };
  for (const order of fresh ? [...message.finished, ...message.orders] : message.orders) {
    const known = open.get(order.id) ?? ended.get(order.id);
    const whole = { ...known, ...order, since: known?.since ?? order.time };
    if (ENDED.has(order.status)) next.open.delete(order.id);
    (ENDED.has(order.status) ? next.ended : next.open).set(order.id, whole);
  }
  for (const id of next.ended.keys()) {
    if (next.ended.size <= ENDED_MAX) break;
    next.ended.delete(id);
  }
  return next;
}

// The fills in `message` that are new for orders that were open before: [{ order, fills }].
export function newFills({ open }, message) {
  const told = [];
  for (const order of [...(message.finished ?? []), ...message.orders]) {
    const known = open.get(order.id);
    if (!known || known.status === "pending" || !known.fills) continue;
    const fills = order.fills.slice(known.fills.length);
    if (fills.length) told.push({ order, fills });
  }
  return told;
}

// Newest first, by the time at which the page first saw them: a fill does not move a row.
export const newestFirst = (orders) => [...orders].sort((a, b) => b.since - a.since || countOf(b.id) - countOf(a.id));

const ENDED = new Set(["filled", "cancelled", "expired", "rejected"]);

const countOf = (id) => Number(id.split("-")[1]);

// Every fill of the given orders, with its order, its place in it and its value.
export const fillsOf = (orders) =>
  orders.flatMap((order) =>
    order.fills.map((fill, index) => ({ ...fill, order, index, value: times(fill.price, fill.quantity) })).reverse(),
  );
