// Candles and volume. Owns one lightweight-charts chart from mount to unmount.
import { effect, signal } from "@preact/signals";
import { CandlestickSeries, createChart, HistogramSeries } from "lightweight-charts";
import { useEffect, useRef } from "preact/hooks";
import { addTrades, mergeCandles } from "./candles.js";
import { color } from "./colors.js";
import { grouped, trimmed } from "./decimal.js";
import { html } from "./html.js";
import { market, marketName, places, trades } from "./store.js";
import { theme } from "./theme.js";

const HISTORY_MAX = 500;
const RIGHT_BARS = 4; // room beside the newest candle

const hover = signal(null); // the candle under the pointer

function paint(chart, price, volume) {
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
}

function build(element, seconds) {
  const chart = createChart(element, {
    autoSize: true,
    timeScale: { timeVisible: true, secondsVisible: seconds < 60, rightOffset: RIGHT_BARS, barSpacing: 11 },
    crosshair: { mode: 0 },
    localization: {
      timeFormatter: (time) => new Date(time * 1000).toLocaleString(),
      priceFormatter: (value) => grouped(value.toFixed(places.peek().price)),
    },
  });
  const price = chart.addSeries(CandlestickSeries);
  const volume = chart.addSeries(HistogramSeries, { priceScaleId: "volume", lastValueVisible: false, priceLineVisible: false });
  price.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.24 } });
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
  return { chart, price, volume };
}

async function loadHistory(seconds) {
  const query = new URLSearchParams({ market: marketName.peek(), interval: seconds, limit: HISTORY_MAX });
  const response = await fetch(`/candles?${query}`);
  if (!response.ok) return [];
  const { candles } = await response.json();
  return candles.map(({ time, open, high, low, close, volume }) => ({
    time: time / 1000,
    open: Number(open),
    high: Number(high),
    low: Number(low),
    close: Number(close),
    volume: Number(volume),
  }));
}

const bar = ({ volume, time, open, close }) => ({
  time,
  value: volume,
  color: color(close >= open ? "bid-soft" : "ask-soft"),
});

export function PriceChart({ seconds }) {
  const element = useRef(null);
  useEffect(() => {
    const { chart, price, volume } = build(element.current, seconds);
    const history = signal([]);
    let candles = [];
    let seen = 0;
    const show = (all) => {
      candles = all;
      price.setData(candles);
      volume.setData(candles.map(bar));
    };
    loadHistory(seconds).then((found) => (history.value = found)).catch(() => {});
    const stops = [
      effect(() => {
        theme.value;
        paint(chart, price, volume);
        volume.setData(candles.map(bar));
      }),
      effect(() => {
        const format = { type: "price", precision: places.value.price, minMove: Number(market.value?.tick ?? 0.01) };
        price.applyOptions({ priceFormat: format });
      }),
      effect(() => {
        if (history.value.length) show(mergeCandles(history.value, candles));
      }),
      effect(() => {
        const fresh = trades.value.filter((trade) => trade.number > seen).reverse();
        if (!fresh.length) return;
        const whole = !seen;
        seen = trades.value[0].number;
        const before = candles.length;
        const next = addTrades(candles, fresh, seconds);
        if (whole) {
          show(mergeCandles(history.peek(), addTrades([], fresh, seconds)));
          return;
        }
        candles = next;
        for (const candle of candles.slice(Math.max(0, before - 1))) {
          price.update(candle);
          volume.update(bar(candle));
        }
      }),
    ];
    return () => {
      stops.forEach((stop) => stop());
      hover.value = null;
      chart.remove();
    };
  }, []);
  return html`<div class="chart" ref=${element} role="group" aria-label="Candles of ${marketName.value}, ${seconds} seconds each"></div>
    <${Legend} />
    ${trades.value.length ? null : html`<p class="nothing chart-nothing">Candles appear with the first trade.</p>`}`;
}

function Legend() {
  const candle = hover.value;
  if (!candle) return null;
  const at = (value) => grouped(trimmed(value.toFixed(places.value.price), 2));
  return html`<p class="legend ${candle.close >= candle.open ? "up" : "down"}">
    <span>O ${at(candle.open)}</span> <span>H ${at(candle.high)}</span> <span>L ${at(candle.low)}</span>
    <span>C ${at(candle.close)}</span> <span class="quiet">V ${trimmed((candle.volume ?? 0).toFixed(6))}</span>
  </p>`;
}
