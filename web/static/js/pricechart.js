// Candles and volume. Owns one lightweight-charts chart from mount to unmount.
import { effect, signal, useSignal } from "@preact/signals";
import { CandlestickSeries, createChart, HistogramSeries } from "lightweight-charts";
import { useEffect, useRef } from "preact/hooks";
import { Candles } from "./candles.js";
import { color } from "./colors.js";
import { grouped, trimmed } from "./decimal.js";
import { html } from "./html.js";
import { market, marketName, places, watchCandles } from "./store.js";
import { theme } from "./theme.js";

const LOOK_BACK_BARS = 30; // within this distance of the oldest candle, load older ones
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

const bar = ({ volume, time, open, close }) => ({
  time,
  value: volume,
  color: color(close >= open ? "bid-soft" : "ask-soft"),
});

export function PriceChart({ seconds }) {
  const element = useRef(null);
  const count = useSignal(0);
  useEffect(() => {
    const { chart, price, volume } = build(element.current, seconds);
    const candles = new Candles(marketName.peek(), seconds);
    const drawAll = () => {
      price.setData(candles.all);
      volume.setData(candles.all.map(bar));
      count.value = candles.all.length;
    };
    const draw = (message) => {
      const changed = candles.take(message);
      if (!changed) return drawAll();
      for (const candle of changed) {
        price.update(candle);
        volume.update(bar(candle));
      }
      count.value = candles.all.length;
    };
    const lookBack = async (range) => {
      if (range && range.from < LOOK_BACK_BARS && (await candles.loadOlder()) && element.current) drawAll();
    };
    chart.timeScale().subscribeVisibleLogicalRangeChange(lookBack);
    const stops = [
      watchCandles(candles.market, seconds, draw),
      effect(() => {
        theme.value;
        paint(chart, price, volume);
        volume.setData(candles.all.map(bar));
      }),
      effect(() => {
        const format = { type: "price", precision: places.value.price, minMove: Number(market.value?.tick ?? 0.01) };
        price.applyOptions({ priceFormat: format });
      }),
    ];
    return () => {
      stops.forEach((stop) => stop());
      chart.timeScale().unsubscribeVisibleLogicalRangeChange(lookBack);
      hover.value = null;
      chart.remove();
    };
  }, []);
  return html`<div class="chart" ref=${element} role="group" aria-label="${count.value} candles of ${marketName.value}, ${seconds} seconds each"></div>
    <${Legend} />
    ${count.value ? null : html`<p class="nothing chart-nothing">Candles appear with the first trade.</p>`}`;
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
