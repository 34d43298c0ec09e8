// What stands before my orders in the queues of the shown market. The peer counts it.
// Owns the places, and when to ask for them: at most once in ASK_MS, and only after a change. What the
// peer does not answer is unknown: no old place is shown.
import { effect, signal } from "@preact/signals";
import { condition } from "./condition.js";
import { openHere } from "./orderview.js";
import { account, bookVersion, mayRead } from "./store.js";

const ASK_MS = 1000;
const ORDERS_MAX = 50; // the newest

export const queuePlaces = signal(new Map()); // order id -> { quantity, orders, complete }

// The orders that can be in a queue, and whether the peer can be asked.
const asked = () =>
  condition.value.known && mayRead.value ? openHere.value.filter(({ status, price }) => price && status !== "pending").slice(0, ORDERS_MAX) : [];

let due = 0; // the timer of the next question
let last = -ASK_MS;

async function load() {
  due = 0;
  last = performance.now();
  const orders = asked();
  if (!orders.length || document.hidden) return;
  const query = new URLSearchParams({ account: account.peek(), orders: orders.map(({ id }) => id).join(",") });
  const response = await fetch(`/queue?${query}`).catch(() => null);
  const { places = [] } = response?.ok ? await response.json() : {};
  queuePlaces.value = new Map(places.map((place) => [place.id, place]));
}

export function watchQueues() {
  effect(() => {
    bookVersion.value;
    if (!asked().length) queuePlaces.value = new Map();
    else due ||= setTimeout(load, Math.max(0, last + ASK_MS - performance.now()));
  });
}
