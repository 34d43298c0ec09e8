// Signals that are kept in the browser's storage.
import { effect, signal } from "@preact/signals";

export function remembered(name, initial) {
  let value = initial;
  try {
    value = JSON.parse(localStorage.getItem(`orderbook.${name}`)) ?? initial;
  } catch {
    // the stored text is not ours: use the initial value
  }
  const kept = signal(value);
  effect(() => localStorage.setItem(`orderbook.${name}`, JSON.stringify(kept.value)));
  return kept;
}
