// My older finished orders, loaded page by page.
// Owns these pages. Must never override the stream: an order that both have is shown as in the stream.
import { effect, signal, untracked } from "@preact/signals";
import { ask } from "./patient.js";
import { account, mayRead, orders, ordersHeard } from "./store.js";

const PAGE = 100;
const PAGES_AT_ONCE_MAX = 5; // read to find one with new orders
const ORDERS_MAX = 2000;
const NOTHING = { orders: [], before: "", whole: false, since: 0, failed: "" };

export const past = signal(NOTHING);
export const loading = signal(false);
account.subscribe(() => (past.value = NOTHING));

async function pageBefore(before) {
  const query = new URLSearchParams({ account: account.peek(), limit: PAGE });
  if (before) query.set("before", before);
  const response = await ask(`/orders?${query}`);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

// Starts with the newest page: only the peer knows the order in which they ended. True if it has orders
// that `isWanted`, or if there is nothing more.
async function nextPage(name, isWanted) {
  const { finished, since } = await pageBefore(past.value.before);
  if (account.peek() !== name) return true; // the account has changed
  const seen = new Set(past.value.orders.map((order) => order.id));
  const fresh = finished.filter((order) => !seen.has(order.id) && !orders.value.ended.has(order.id));
  const all = [...past.value.orders, ...fresh];
  past.value = {
    orders: all.slice(0, ORDERS_MAX),
    before: finished.at(-1)?.id ?? past.value.before,
    whole: finished.length < PAGE || all.length >= ORDERS_MAX,
    since,
    failed: "",
  };
  return past.value.whole || fresh.some(isWanted);
}

export async function loadOlder(isWanted = () => true) {
  if (loading.value || past.value.whole) return;
  loading.value = true;
  try {
    for (let page = 0; page < PAGES_AT_ONCE_MAX; page++) if (await nextPage(account.peek(), isWanted)) break;
  } catch (error) {
    past.value = { ...past.value, failed: error.message };
  } finally {
    loading.value = false;
  }
}

// The newest page at once, when the peer has listed the account's orders: what ended before this page
// was opened is in no stream.
effect(() => {
  if (ordersHeard.value && mayRead.value && untracked(() => past.value === NOTHING)) untracked(() => loadOlder());
});

// The loaded orders that are not in the stream, which has the ended ones.
export const olderThan = (ended) => past.value.orders.filter((order) => !ended.has(order.id));
