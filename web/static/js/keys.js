// The keyboard. Keep the list of keys in help.js up to date.
import { clear, side, type } from "./form.js";
import { showHelp } from "./help.js";
import { cancelEverything, cancelNewest } from "./orders.js";
import { toggleTheme } from "./theme.js";

function focusOn(name) {
  const input = document.querySelector(`.entry [name=${name}]`);
  input?.focus();
  input?.select();
  return Boolean(input);
}

const ACTIONS = {
  "?": () => (showHelp.value = !showHelp.value),
  b: () => pick("buy"),
  s: () => pick("sell"),
  l: () => (type.value = "limit"),
  m: () => (type.value = "market"),
  p: () => focusOn("price"),
  q: () => focusOn("quantity"),
  x: () => cancelNewest(),
  X: () => cancelEverything(),
  t: () => toggleTheme(),
};

function pick(name) {
  side.value = name;
  if (!focusOn("price")) focusOn("quantity");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    clear();
    document.activeElement?.blur();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const action = ACTIONS[event.key.length === 1 && event.key !== "X" ? event.key.toLowerCase() : event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

export const startKeys = () => addEventListener("keydown", onKey);
