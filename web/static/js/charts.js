// The chart panel: price over time, or depth around the middle.
import { Choice } from "./choice.js";
import { condition } from "./condition.js";
import { html } from "./html.js";
import { INTERVALS } from "./candles.js";
import { lazy } from "./lazy.js";
import { remembered } from "./remember.js";
import { marketName } from "./store.js";
import { Tabs } from "./tabs.js";

const shown = remembered("chart", "price");
export const interval = remembered("interval", 5);

// The libraries that draw are the largest files of the page: it works before they have come.
const PriceChart = lazy(() => import("./pricechart.js").then((module) => module.PriceChart));
const DepthChart = lazy(() => import("./depthchart.js").then((module) => module.DepthChart));

const TABS = [
  ["price", "Price"],
  ["depth", "Depth"],
];
const LENGTHS = INTERVALS.map(([label, seconds]) => [seconds, label]);

export const Charts = () => html`<section class="panel charts ${condition.value.fresh ? "" : "old"}" aria-label="Charts">
  <header class="panel-head">
    <h2 class="hidden">Charts</h2>
    <${Tabs} prefix="chart" shows="chart-view" label="Charts" value=${shown.value} options=${TABS} onPick=${(name) => (shown.value = name)} />
    ${shown.value === "price"
      ? html`<${Choice} kind="plain intervals" label="Candle interval" value=${interval.value} options=${LENGTHS} onPick=${(seconds) => (interval.value = seconds)} />`
      : null}
  </header>
  <div class="chart-view" id="chart-view" role="tabpanel" aria-labelledby="chart-tab-${shown.value}">
    ${shown.value === "price"
      ? html`<${PriceChart} key=${`${marketName.value}/${interval.value}`} seconds=${interval.value} />`
      : html`<${DepthChart} key=${marketName.value} />`}
  </div>
</section>`;
