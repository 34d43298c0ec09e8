// What an account's fills add up to: the position in each market, its average price, and the profit.
// Owns the sums, by average cost, exact until the last division. Knows only the fills that it is given. Pure.
import { divided, fromUnits, placesOf, toBig } from "./decimal.js";

const MORE = 2; // places of an average beyond those of the prices

// `fills` oldest first, with `price`, `quantity` and `side`. Returns texts: size (signed), average (null
// without a position), realized, bought, sold; and `count`.
export function positionOf(fills) {
  const at = placesOf(fills[0].price);
  const lots = placesOf(fills[0].quantity);
  let [size, cost, realized, bought, sold] = [0n, 0n, 0n, 0n, 0n]; // cost: of the open position, signed as size
  for (const fill of fills) {
    const price = toBig(fill.price, at);
    const amount = toBig(fill.quantity, lots);
    const change = fill.side === "buy" ? amount : -amount;
    if (fill.side === "buy") bought += amount;
    else sold += amount;
    const closes = size !== 0n && size > 0n !== change > 0n;
    const closed = closes ? smaller(size, change) : 0n; // signed as size
    if (closed) {
      const part = divided(cost * abs(closed), abs(size));
      realized += closed * price - part;
      [size, cost] = [size - closed, cost - part];
    }
    const opened = change + closed;
    [size, cost] = [size + opened, cost + opened * price];
  }
  return {
    size: fromUnits(size, lots),
    average: size ? fromUnits(divided(abs(cost) * 10n ** BigInt(MORE), abs(size)), at + MORE) : null,
    realized: fromUnits(realized, at + lots),
    cost: fromUnits(cost, at + lots),
    bought: fromUnits(bought, lots),
    sold: fromUnits(sold, lots),
    count: fills.length,
  };
}

const abs = (value) => (value < 0n ? -value : value);

// As much of `size` as `change` closes.
const smaller = (size, change) => (abs(change) < abs(size) ? -change : size);

// What the position would gain at `price`, beyond its cost.
export function unrealizedOf({ size, cost }, price) {
  const sign = size.startsWith("-") ? -1n : 1n;
  const [lots, at] = [placesOf(size), placesOf(price)];
  const worth = sign * toBig(size.replace("-", ""), lots) * toBig(price, at);
  const whole = cost.startsWith("-") ? -toBig(cost.slice(1), lots + at) : toBig(cost, lots + at);
  return fromUnits(worth - whole, lots + at);
}

// Positions of all markets: symbol -> position. `fills` newest first, each with its order.
export function positionsOf(fills) {
  const markets = new Map();
  for (const fill of fills.toReversed()) {
    const { market, side } = fill.order;
    if (!markets.has(market)) markets.set(market, []);
    markets.get(market).push({ ...fill, side });
  }
  return [...markets].map(([market, theirs]) => ({ id: market, market, ...positionOf(theirs) })).sort((a, b) => (a.market < b.market ? -1 : 1));
}
