// The keyboard. bindings.js has the keys.
import { actionOf, boundKey } from "./bindings.js";
import { clear, takeBest, write } from "./form.js";
import { showHelp } from "./help.js";
import { askToCancelAll, cancelByKey, moveMark, stopAsking } from "./orderactions.js";
import { choose } from "./orders.js";
import { scope } from "./orderview.js";
import { showSettings } from "./settingsdialog.js";
import { chooseMarket, marketName, markets } from "./store.js";
import { toggleTheme } from "./theme.js";

function focusOn(name) {
  const input = document.querySelector(`.entry [name=${name}]`);
  input?.focus();
  input?.select();
  return Boolean(input);
}

function pick(name) {
  write("side", name);
  if (!focusOn("price")) focusOn("quantity"); // at once: what is typed next goes there
}

function nextMarket() {
  const names = markets.value.map(({ symbol }) => symbol);
  if (names.length) chooseMarket(names[(names.indexOf(marketName.value) + 1) % names.length]);
}

const DO = {
  help: () => (showHelp.value = !showHelp.value),
  settings: () => (showSettings.value = true),
  buy: () => pick("buy"),
  sell: () => pick("sell"),
  limit: () => write("type", "limit"),
  market: () => write("type", "market"),
  price: () => focusOn("price"),
  quantity: () => focusOn("quantity"),
  cancel: cancelByKey,
  bestBid: () => takeBest("bid"),
  bestAsk: () => takeBest("ask"),
  cancelAll: () => askToCancelAll(),
  cancelBuys: () => askToCancelAll("buy"),
  cancelSells: () => askToCancelAll("sell"),
  open: () => choose("open"),
  history: () => choose("history"),
  fills: () => choose("fills"),
  positions: () => choose("positions"),
  scope: () => (scope.value = scope.value === "all" ? "market" : "all"),
  nextMarket,
  theme: toggleTheme,
};
const MOVES = { ArrowUp: -1, ArrowDown: 1 };

function onKey(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (!stopAsking()) clear();
    document.activeElement?.blur();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const action = DO[actionOf.value.get(boundKey(event))];
  if (action) {
    event.preventDefault();
    action();
  } else if (event.key in MOVES && moveMark(MOVES[event.key])) event.preventDefault();
}

export const startKeys = () => addEventListener("keydown", onKey);
