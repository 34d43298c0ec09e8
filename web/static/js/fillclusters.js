// Fills of the same side within the same candle. Pure.
import { averageOf, fromUnits, placesOf, toBig } from "./decimal.js";

// `fills` newest first, each with its order; `seconds` is the length of a candle. Returns one entry for
// each candle and side, newest first: time (seconds), side, fills.
export function clustersOf(fills, seconds) {
  const clusters = new Map();
  for (const fill of fills) {
    if (!fill.time) continue; // from before this peer knew it
    const time = Math.floor(fill.time / 1000 / seconds) * seconds;
    const key = `${time} ${fill.order.side}`;
    if (!clusters.has(key)) clusters.set(key, { time, side: fill.order.side, fills: [] });
    clusters.get(key).fills.push(fill);
  }
  return [...clusters.values()];
}

// The whole quantity of fills and their average price, as text.
export function sumOf(fills) {
  const lots = placesOf(fills[0].quantity);
  const size = fills.reduce((sum, fill) => sum + toBig(fill.quantity, lots), 0n);
  return { quantity: fromUnits(size, lots), average: averageOf(fills) };
}
