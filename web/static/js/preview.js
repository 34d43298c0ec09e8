// What an order would do now, from the book on this page.
// Owns the estimate: what trades at once, at which prices, what would rest or expire; and what makes an
// order worth a second look. Displayed quantities only: an iceberg may make it better. Pure.
import { divided } from "./decimal.js";

const HUNDREDTHS = 10_000n; // of a percent's hundredth: shares are in hundredths of a percent

// The lowest and highest price of the band around the last trade, in units; null if there is none.
export function bandOf(last, percent) {
  if (!percent || !last) return null;
  const reach = (BigInt(last) * BigInt(percent)) / 100n;
  return { low: BigInt(last) - reach, high: BigInt(last) + reach };
}

// `levels`: the other side's [price, size] in units, best first. `amount` in units. `limit` in units, or
// null for none. Returns BigInt units: filled, cost (price times size), rests, expires; worst and best are
// prices, or null if nothing trades.
export function previewOf({ side, levels, amount, limit, mayRest, isWhole, isPostOnly }) {
  const sign = side === "buy" ? 1n : -1n;
  const wanted = BigInt(amount);
  let [filled, cost, worst] = [0n, 0n, null];
  for (const [price, size] of levels) {
    if (filled === wanted || (limit !== null && sign * BigInt(price) > sign * BigInt(limit))) break;
    const left = wanted - filled;
    const taken = left < BigInt(size) ? left : BigInt(size);
    [filled, cost, worst] = [filled + taken, cost + taken * BigInt(price), BigInt(price)];
  }
  const crosses = filled > 0n;
  if ((isWhole && filled < wanted) || (isPostOnly && crosses)) [filled, cost, worst] = [0n, 0n, null];
  const left = isPostOnly && crosses ? 0n : wanted - filled;
  const [rests, expires] = mayRest ? [left, 0n] : [0n, left];
  return { crosses, filled, cost, worst, best: filled ? BigInt(levels[0][0]) : null, rests, expires };
}

// How much worse than the best price the average is, in hundredths of a percent.
export function slippageOf({ filled, cost, best }, side) {
  if (!filled) return 0n;
  const worse = (side === "buy" ? 1n : -1n) * (cost - best * filled);
  return divided(worse * HUNDREDTHS, best * filled);
}

// How much worse for the trader `price` is than `reference`, in hundredths of a percent; not below zero.
export function awayOf(side, price, reference) {
  if (!reference) return 0n;
  const worse = (side === "buy" ? 1n : -1n) * (BigInt(price) - BigInt(reference));
  return worse > 0n ? (worse * HUNDREDTHS) / BigInt(reference) : 0n;
}

// "1.25 %"
export const percentOf = (share) => `${(Number(share) / 100).toFixed(2)} %`;
