// My orders, made from messages. Owns their order on the page and the words for their states. Pure.

const HISTORY_MAX = 300;

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

// The map of orders after `message`, newest first. A snapshot replaces the open orders; the page keeps
// the finished ones.
export function mergeOrders(known, message) {
  const next = new Map(known);
  if (message.type === "snapshot") {
    for (const [id, order] of known) if (!ENDED.has(order.status)) next.delete(id);
    for (const order of message.finished) next.set(order.id, order);
  }
  for (const order of message.orders) next.set(order.id, { ...next.get(order.id), ...order });
  const sorted = [...next].sort(([, a], [, b]) => b.time - a.time || countOf(b.id) - countOf(a.id));
  return new Map(sorted.slice(0, HISTORY_MAX));
}

export const ENDED = new Set(["filled", "cancelled", "expired", "rejected"]);

const countOf = (id) => Number(id.split("-")[1]);

// Every fill of the given orders, newest order first.
export const fillsOf = (orders) =>
  orders.flatMap((order) => order.fills.map((fill, index) => ({ ...fill, order, index })).reverse());
