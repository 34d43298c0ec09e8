// Trades gathered into candles. Pure; prices and volumes are for drawing only, so floats will do here.

export const INTERVALS = [
  ["5s", 5],
  ["15s", 15],
  ["1m", 60],
  ["5m", 300],
  ["15m", 900],
  ["1h", 3600],
];

// The candles of `interval` seconds after `trades` (oldest first) are added to `candles`, which stay
// as they are; times in seconds. An interval without a trade has no candle.
export function addTrades(candles, trades, interval) {
  const next = candles.slice();
  for (const trade of trades) {
    const time = Math.floor(trade.time / 1000 / interval) * interval;
    const price = Number(trade.price);
    const volume = Number(trade.quantity);
    const last = next[next.length - 1];
    if (last && time <= last.time) {
      next[next.length - 1] = {
        ...last,
        high: Math.max(last.high, price),
        low: Math.min(last.low, price),
        close: price,
        volume: last.volume + volume,
      };
    } else {
      next.push({ time, open: price, high: price, low: price, close: price, volume });
    }
  }
  return next;
}

// Older candles of the gateway and newer ones made here: where both know an interval, the one with
// more volume has seen more of it.
export function mergeCandles(older, newer) {
  const merged = new Map(older.map((candle) => [candle.time, candle]));
  for (const candle of newer) {
    const known = merged.get(candle.time);
    if (!known || candle.volume >= known.volume) merged.set(candle.time, candle);
  }
  return [...merged.values()].sort((a, b) => a.time - b.time);
}
