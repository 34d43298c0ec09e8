// Which key does what. Owns the actions' names and texts, and the keys that a person has chosen for them.
import { computed } from "@preact/signals";
import { remembered } from "./remember.js";

// Name, text, key at first. A capital letter is the letter with Shift.
export const ACTIONS = [
  ["buy", "Buy", "b"],
  ["sell", "Sell", "s"],
  ["limit", "Limit order", "l"],
  ["market", "Market order", "m"],
  ["price", "Go to the price", "p"],
  ["quantity", "Go to the quantity", "q"],
  ["bestBid", "The best bid as the price", "["],
  ["bestAsk", "The best ask as the price", "]"],
  ["cancel", "Mark the newest order in the table; again: cancel it", "x"],
  ["cancelAll", "Cancel all orders in the table, after a question", "X"],
  ["cancelBuys", "Cancel the buy orders in the table, after a question", "B"],
  ["cancelSells", "Cancel the sell orders in the table, after a question", "S"],
  ["open", "Open orders", "o"],
  ["history", "History", "h"],
  ["fills", "Fills", "f"],
  ["positions", "Positions", "i"],
  ["scope", "Orders of this market or of all", "a"],
  ["nextMarket", "Next market", "n"],
  ["theme", "Light or dark", "t"],
  ["settings", "Settings", ","],
  ["help", "This help", "?"],
];

const FIRST = Object.fromEntries(ACTIONS.map(([name, , key]) => [name, key]));
const chosen = remembered("keys", {});

export const keyOf = (name) => chosen.value[name] ?? FIRST[name];
export const actionOf = computed(() => new Map(ACTIONS.map(([name]) => [keyOf(name), name])));

// Gives an action another key. An action that had that key gets this one's.
export function bind(name, key) {
  const other = actionOf.value.get(key);
  chosen.value = { ...chosen.value, [name]: key, ...(other && other !== name && { [other]: keyOf(name) }) };
}

export const resetKeys = () => (chosen.value = {});

// The key of an event that can be bound; empty for none.
export function boundKey({ key, ctrlKey, metaKey, altKey }) {
  return key.length === 1 && key !== " " && !ctrlKey && !metaKey && !altKey ? key : "";
}

export const keyLabel = (key) => (/^\p{Lu}$/u.test(key) ? `Shift ${key}` : key.toUpperCase());
