// Lines over the candles: moving averages, and the volume-weighted average price of each day (UTC).
// Numbers for drawing, not for trading. Candles are oldest first, as in candles.js. Pure.

const DAY_S = 86_400;

const typical = ({ high, low, close }) => (high + low + close) / 3;
const dayOf = ({ time }) => Math.floor(time / DAY_S);

// The average of the last `count` closes up to the candle `at`; null before there are so many.
export function averageAt(candles, at, count) {
  if (at + 1 < count) return null;
  let sum = 0;
  for (let n = at - count + 1; n <= at; n++) sum += candles[n].close;
  return sum / count;
}

export const averages = (candles, count) => points(candles, (at) => averageAt(candles, at, count));

// From the first candle of its day up to the candle `at`; null while nothing has traded.
export function vwapAt(candles, at) {
  let [worth, volume] = [0, 0];
  for (let n = at; n >= 0 && dayOf(candles[n]) === dayOf(candles[at]); n--) {
    worth += typical(candles[n]) * candles[n].volume;
    volume += candles[n].volume;
  }
  return volume ? worth / volume : null;
}

export function vwaps(candles) {
  let [worth, volume, day] = [0, 0, null];
  return points(candles, (at) => {
    if (dayOf(candles[at]) !== day) [worth, volume, day] = [0, 0, dayOf(candles[at])];
    worth += typical(candles[at]) * candles[at].volume;
    volume += candles[at].volume;
    return volume ? worth / volume : null;
  });
}

const points = (candles, valueAt) =>
  candles.map(({ time }, at) => {
    const value = valueAt(at);
    return value === null ? { time } : { time, value };
  });
