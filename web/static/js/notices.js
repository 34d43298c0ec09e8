// What happened to my open orders by itself: a toast and, if wanted, a sound, also in a background tab.
// Owns the words, and the mark and price in the tab's title.
import { effect, signal } from "@preact/signals";
import { sumOf } from "./fillclusters.js";
import * as as from "./format.js";
import { sounds } from "./settings.js";
import { chime } from "./sound.js";
import { marketName, trades, watchFills } from "./store.js";
import { toast } from "./toasts.js";

const unseen = signal(false); // an order filled while nobody looked

// `fills` are new fills of one order that had been open.
function tell({ order, fills }) {
  const done = order.side === "buy" ? "Bought" : "Sold";
  const where = order.market === marketName.value ? "" : ` in ${order.market}`;
  const rest = order.status === "partly_filled" ? `, ${as.quantity(order.remaining)} stays open` : "";
  const title = order.status === "filled" ? "Filled" : "Partly filled";
  const sum = sumOf(fills);
  toast("good", title, `${done} ${as.quantity(sum.quantity)}${where} at ${as.price(sum.average)}${rest}. Order ${order.id}.`);
}

export function startNotices() {
  watchFills((news) => {
    news.forEach(tell);
    if (sounds.value) chime();
    unseen.value = document.hidden;
  });
  document.addEventListener("visibilitychange", () => document.hidden || (unseen.value = false));
  effect(() => {
    const price = trades.value[0] ? `${as.shortPrice(trades.value[0].price)} ` : "";
    document.title = `${unseen.value ? "● " : ""}${price}${marketName.value} · p2p-orderbook`;
  });
}
