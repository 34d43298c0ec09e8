// The gateway's candles of one market and interval, as numbers for drawing.
// Owns the known candles, without gaps; loads older ones page by page. Must never make a candle itself.

import { ask } from "./patient.js";

export const INTERVALS = [
  ["1s", 1],
  ["5s", 5],
  ["1m", 60],
  ["5m", 300],
  ["15m", 900],
  ["1h", 3600],
  ["4h", 14400],
  ["1d", 86400],
];
const PAGE = 500;
const KEPT_MAX = 20_000;

const drawn = ({ time, open, high, low, close, volume }) => ({
  time: time / 1000,
  open: Number(open),
  high: Number(high),
  low: Number(low),
  close: Number(close),
  volume: Number(volume),
});

export class Candles {
  constructor(market, interval) {
    this.market = market;
    this.interval = interval;
    this.all = []; // oldest first
    this.whole = false; // true: there are no older ones
    this.loading = false;
  }

  // The candles that changed, oldest first; null if all have to be drawn again.
  take({ type, candles }) {
    const fresh = candles.map(drawn);
    if (type === "snapshot") {
      this.begin(fresh);
      return null;
    }
    const last = this.all.at(-1);
    if (last && fresh.length && fresh[0].time < last.time) {
      const known = new Map([...this.all, ...fresh].map((candle) => [candle.time, candle]));
      this.all = [...known.values()].sort((a, b) => a.time - b.time);
      return null;
    }
    if (last && fresh[0]?.time === last.time) this.all.pop();
    this.all.push(...fresh);
    return fresh;
  }

  // Starts from a snapshot. Keeps older candles only if there is no gap before the snapshot.
  begin(fresh) {
    const first = fresh[0]?.time ?? Infinity;
    const meets = (this.all.at(-1)?.time ?? -Infinity) >= first;
    this.whole &&= meets;
    this.all = [...(meets ? this.all.filter((candle) => candle.time < first) : []), ...fresh];
  }

  // True if older candles were loaded.
  async loadOlder() {
    if (this.loading || this.whole || !this.all.length) return false;
    this.loading = true;
    try {
      const before = this.all[0].time * 1000;
      const query = new URLSearchParams({ market: this.market, interval: this.interval, limit: PAGE, before });
      const response = await ask(`/candles?${query}`);
      const older = response.ok ? (await response.json()).candles.map(drawn) : [];
      if (before !== this.all[0].time * 1000) return false; // a snapshot came meanwhile
      this.whole = (response.ok && !older.length) || this.all.length > KEPT_MAX;
      this.all = [...older, ...this.all];
      return older.length > 0;
    } catch {
      return false; // no connection: the next move of the chart asks again
    } finally {
      this.loading = false;
    }
  }
}
