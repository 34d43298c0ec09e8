// Which of my orders the tables show.
// Owns the choice of tab, markets, side and time, and what that selects. A button or key that acts on
// “all” acts on this selection only.
import { computed, signal } from "@preact/signals";
import { condition } from "./condition.js";
import { olderThan } from "./history.js";
import { fillsOf, newestFirst } from "./lifecycle.js";
import { positionsOf } from "./positions.js";
import { remembered } from "./remember.js";
import { marketName, mayTrade, openOrders, orders, ordersHeard } from "./store.js";

export const tab = signal("open"); // open, history, fills, positions
export const scope = remembered("scope", "market"); // market, all
export const side = signal(""); // buy, sell; empty: both
export const period = signal(0); // the last so many milliseconds; 0: any time

export const PERIODS = [
  [0, "Any time"],
  [3_600_000, "Last hour"],
  [86_400_000, "Last 24 hours"],
  [7 * 86_400_000, "Last 7 days"],
];

// Whether the open orders are known now: an unknown number is never shown as zero.
export const isKnown = computed(() => condition.value.known && ordersHeard.value);

// Why open orders can be neither cancelled nor changed now; empty if they can.
export const locked = computed(() => condition.value.blocked || (mayTrade.value ? "" : "This page is read-only"));

// The market to which the tables are limited; empty: none.
export const marketShown = computed(() => (scope.value === "market" ? marketName.value : ""));

const ofMarket = (order) => !marketShown.value || order.market === marketShown.value;
const ofSide = (order) => !side.value || order.side === side.value;
const ofTime = (ms) => !period.value || ms >= Date.now() - period.value;

export const openHere = computed(() => openOrders.value.filter((order) => order.market === marketName.value));
// A cancel of all can't be limited to a time, so open orders are not.
export const openShown = computed(() => openOrders.value.filter((order) => ofMarket(order) && ofSide(order)));

// All known ended orders of the shown markets, the last that ended first.
const ended = computed(() => {
  const known = orders.value.ended;
  const all = [...[...known.values()].reverse(), ...olderThan(known)].filter((order) => ofMarket(order));
  return all.sort((a, b) => b.time - a.time); // keeps the order within one commit
});

export const endedShown = computed(() => ended.value.filter((order) => ofSide(order) && ofTime(order.time)));

// All known fills of the shown markets, newest first.
export const fills = computed(() => {
  const open = newestFirst(orders.value.open.values()).filter(ofMarket);
  return fillsOf([...open, ...ended.value]).sort((a, b) => b.time - a.time || (b.trade ?? 0) - (a.trade ?? 0));
});

// All known fills of the chosen market.
export const fillsHere = computed(() => {
  const { open, ended: known } = orders.value;
  const mine = [...open.values(), ...known.values(), ...olderThan(known)].filter((order) => order.market === marketName.value);
  return fillsOf(mine).sort((a, b) => b.time - a.time || (b.trade ?? 0) - (a.trade ?? 0));
});

export const positionsShown = computed(() => positionsOf(fills.value));

export const fillsShown = computed(() => fills.value.filter((fill) => ofSide(fill.order) && ofTime(fill.time)));
