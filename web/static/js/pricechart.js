// Candles and volume. Owns one lightweight-charts chart from mount to unmount.
import { effect, signal, useSignal } from "@preact/signals";
import { CandlestickSeries, createChart, HistogramSeries, LineSeries } from "lightweight-charts";
import { useEffect, useRef } from "preact/hooks";
import { Candles } from "./candles.js";
import { OrderLines, priceAt } from "./chartorders.js";
import { color } from "./colors.js";
import { grouped, trimmed } from "./decimal.js";
import { sumOf } from "./fillclusters.js";
import { drawFills } from "./fillmarks.js";
import * as as from "./format.js";
import { html } from "./html.js";
import { averageAt, averages, vwapAt, vwaps } from "./indicators.js";
import { remembered } from "./remember.js";
import { palette, zone } from "./settings.js";
import { draft, market, marketName, places, watchCandles } from "./store.js";
import { theme } from "./theme.js";
import { axisLabel, dateAndClock } from "./times.js";

const LOOK_BACK_BARS = 30; // within this distance of the oldest candle, load older ones
const RIGHT_BARS = 4; // room beside the newest candle
const AXIS_KINDS = ["year", "month", "day", "minute", "second"]; // of a tick, by the library's numbers

// Name, label, title, colour, all its points, its newest value.
const LINES = [
  ["vwap", "VWAP", "Volume-weighted average price of the day (UTC)", "accent", vwaps, vwapAt],
  ["fast", "MA 7", "Average of the last 7 closes", "warn", (all) => averages(all, 7), (all, at) => averageAt(all, at, 7)],
  ["slow", "MA 25", "Average of the last 25 closes", "quiet", (all) => averages(all, 25), (all, at) => averageAt(all, at, 25)],
];
const lines = remembered("chartLines", []); // names of the lines that are shown

const hover = signal(null); // the candle under the pointer, else the newest
const clusters = signal([]); // my fills, by candle and side
const isUtc = () => zone.peek() === "utc";

function paint(chart, price, volume, extra) {
  chart.applyOptions({
    layout: {
      background: { color: color("panel") },
      textColor: color("quiet"),
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 11,
      attributionLogo: true,
    },
    grid: { vertLines: { color: color("line") }, horzLines: { color: color("line") } },
    timeScale: { borderColor: color("line") },
    rightPriceScale: { borderColor: color("line") },
  });
  const [up, down] = [color("bid"), color("ask")];
  price.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  volume.applyOptions({ color: color("line") });
  LINES.forEach(([name, , , shade]) => extra[name].applyOptions({ color: color(shade) }));
}

function build(element, seconds) {
  const chart = createChart(element, {
    autoSize: true,
    timeScale: {
      timeVisible: true,
      secondsVisible: seconds < 60,
      rightOffset: RIGHT_BARS,
      barSpacing: 11,
      tickMarkFormatter: (time, kind) => axisLabel(time * 1000, AXIS_KINDS[kind], isUtc()),
    },
    crosshair: { mode: 0 },
    localization: {
      timeFormatter: (time) => dateAndClock(time * 1000, isUtc()),
      priceFormatter: (value) => grouped(value.toFixed(places.peek().price)),
    },
  });
  const price = chart.addSeries(CandlestickSeries);
  const volume = chart.addSeries(HistogramSeries, { priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false });
  const plain = { lineWidth: 1, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false, autoscaleInfoProvider: () => null };
  const extra = Object.fromEntries(LINES.map(([name]) => [name, chart.addSeries(LineSeries, plain)]));
  price.priceScale().applyOptions({ scaleMargins: { top: 0.14, bottom: 0.24 } });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  let shown = false; // on a narrow screen the chart is made while another tab is open
  chart.timeScale().subscribeSizeChange((width) => {
    if (width && !shown) chart.timeScale().scrollToPosition(RIGHT_BARS, false);
    shown = width > 0;
  });
  chart.subscribeCrosshairMove((event) => {
    const bar = event.seriesData.get(price);
    hover.value = bar ? { ...bar, volume: event.seriesData.get(volume)?.value } : null;
  });
  return { chart, price, volume, extra };
}

const bar = ({ volume, time, open, close }) => ({
  time,
  value: volume,
  color: color(close >= open ? "bid-soft" : "ask-soft"),
});

function drawLines(extra, all) {
  for (const [name, , , , pointsOf] of LINES) extra[name].setData(lines.peek().includes(name) ? pointsOf(all) : []);
}

// Draws the newest candle's point of each line that is shown.
function extendLines(extra, all) {
  for (const [name, , , , , valueAt] of LINES) {
    const value = lines.peek().includes(name) && all.length ? valueAt(all, all.length - 1) : null;
    if (value !== null) extra[name].update({ time: all.at(-1).time, value });
  }
}

export function PriceChart({ seconds }) {
  const element = useRef(null);
  const newest = useSignal(null);
  const count = useSignal(0);
  useEffect(() => {
    const { chart, price, volume, extra } = build(element.current, seconds);
    const candles = new Candles(marketName.peek(), seconds);
    const firstTime = signal(Infinity);
    const note = () => {
      count.value = candles.all.length;
      newest.value = candles.all.at(-1) ?? null;
      firstTime.value = candles.all[0]?.time ?? Infinity;
    };
    const drawAll = () => {
      price.setData(candles.all);
      volume.setData(candles.all.map(bar));
      drawLines(extra, candles.all);
      note();
    };
    const draw = (message) => {
      const changed = candles.take(message);
      if (!changed) return drawAll();
      for (const candle of changed) {
        price.update(candle);
        volume.update(bar(candle));
      }
      extendLines(extra, candles.all);
      note();
    };
    const lookBack = async (range) => {
      if (range && range.from < LOOK_BACK_BARS && (await candles.loadOlder()) && element.current) drawAll();
    };
    chart.timeScale().subscribeVisibleLogicalRangeChange(lookBack);
    const orders = new OrderLines(chart, price, element.current);
    chart.subscribeClick(({ point }) => {
      const text = point && !orders.moved && priceAt(price, point.y);
      if (text) draft.value = { price: text, at: performance.now() };
    });
    const stops = [
      watchCandles(candles.market, seconds, draw),
      effect(() => {
        [theme.value, palette.value];
        paint(chart, price, volume, extra);
        volume.setData(candles.all.map(bar));
      }),
      effect(() => {
        const format = { type: "price", precision: places.value.price, minMove: Number(market.value?.tick ?? 0.01) };
        for (const series of [price, ...Object.values(extra)]) series.applyOptions({ priceFormat: format });
      }),
      effect(() => {
        lines.value;
        drawLines(extra, candles.all);
      }),
      effect(() => {
        zone.value;
        chart.applyOptions({ timeScale: { secondsVisible: seconds < 60 } }); // draws the axis again
      }),
      drawFills(price, seconds, firstTime, clusters),
      () => orders.close(),
    ];
    return () => {
      stops.forEach((stop) => stop());
      chart.timeScale().unsubscribeVisibleLogicalRangeChange(lookBack);
      hover.value = null;
      chart.remove();
    };
  }, []);
  return html`<div class="chart" ref=${element} role="group" aria-label="${count.value} candles of ${marketName.value}, ${seconds} seconds each"></div>
    <div class="chart-top"><${Legend} newest=${newest.value} /><${Tools} element=${element} /><${Mine} /></div>
    ${count.value ? null : html`<p class="nothing chart-nothing">Candles appear with the first trade.</p>`}`;
}

function toggle(name) {
  lines.value = lines.value.includes(name) ? lines.value.filter((other) => other !== name) : [...lines.value, name];
}

function fillScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.current.closest(".charts").requestFullscreen();
}

const Tools = ({ element }) => html`<div class="chart-tools">
  ${LINES.map(
    ([name, label, title, shade]) => html`<button
      key=${name}
      class="tool"
      style=${{ "--shade": `var(--${shade})` }}
      aria-pressed=${lines.value.includes(name) ? "true" : "false"}
      title=${title}
      onClick=${() => toggle(name)}
    >
      ${label}
    </button>`,
  )}
  <button class="tool" aria-label="Full screen" title="Full screen" onClick=${() => fillScreen(element)}>
    <svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true"><path d="M1 4V1h3M6 1h3v3M9 6v3H6M4 9H1V6" fill="none" stroke="currentColor" /></svg>
  </button>
</div>`;

// My fills in the candle under the pointer.
const Mine = () =>
  clusters.value
    .filter(({ time }) => time === hover.value?.time)
    .map(({ side, fills }) => {
      const { quantity, average } = sumOf(fills);
      const count = fills.length > 1 ? ` in ${fills.length} fills` : "";
      return html`<p key=${side} class="ohlc ${side === "buy" ? "up" : "down"}">${side === "buy" ? "Bought" : "Sold"} ${as.quantity(trimmed(quantity))} at ${as.price(average)}${count}</p>`;
    });

function Legend({ newest }) {
  const candle = hover.value ?? newest;
  if (!candle) return null;
  const at = (value) => grouped(trimmed(value.toFixed(places.value.price), 2));
  return html`<p class="ohlc ${candle.close >= candle.open ? "up" : "down"}">
    <span>O ${at(candle.open)}</span> <span>H ${at(candle.high)}</span> <span>L ${at(candle.low)}</span>${" "}
    <span>C ${at(candle.close)}</span> <span class="quiet">V ${trimmed((candle.volume ?? 0).toFixed(6))}</span>
  </p>`;
}
