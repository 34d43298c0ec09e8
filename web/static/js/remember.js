// Signals that this browser remembers.
import { effect, signal } from "@preact/signals";

export function remembered(name, initial) {
  let value = initial;
  try {
    value = JSON.parse(localStorage.getItem(`orderbook.${name}`)) ?? initial;
  } catch {
    // what is stored is not ours: start anew
  }
  const kept = signal(value);
  effect(() => localStorage.setItem(`orderbook.${name}`, JSON.stringify(kept.value)));
  return kept;
}
