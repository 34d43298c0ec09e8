// My fills on the chart: one mark for each candle and side, with the number of fills; how many and at
// which average is in the line above the chart, for the candle under the pointer.
// Owns the grouping of fills by candle. Must never draw more than MARKS_MAX marks.
import { effect } from "@preact/signals";
import { createSeriesMarkers } from "lightweight-charts";
import { color } from "./colors.js";
import { clustersOf } from "./fillclusters.js";
import { fillsHere } from "./orderview.js";
import { palette } from "./settings.js";
import { theme } from "./theme.js";

const MARKS_MAX = 500; // the newest

const markOf = ({ time, side, fills }) => ({
  time,
  position: side === "buy" ? "belowBar" : "aboveBar",
  shape: side === "buy" ? "arrowUp" : "arrowDown",
  color: color(side === "buy" ? "bid" : "ask"),
  text: fills.length > 1 ? `${fills.length}` : "",
});

// Draws marks at the fills' candles, `seconds` long, from the first candle on. `found` gets the clusters.
export function drawFills(series, seconds, firstTime, found) {
  const marks = createSeriesMarkers(series, []);
  return effect(() => {
    [theme.value, palette.value];
    found.value = clustersOf(fillsHere.value, seconds).filter(({ time }) => time >= firstTime.value);
    marks.setMarkers(found.value.slice(0, MARKS_MAX).map(markOf).reverse());
  });
}
