// The chart panel: price over time, or depth around the middle.
import { DepthChart } from "./depthchart.js";
import { html } from "./html.js";
import { INTERVALS } from "./candles.js";
import { PriceChart } from "./pricechart.js";
import { remembered } from "./remember.js";
import { marketName } from "./store.js";

const shown = remembered("chart", "price");
export const interval = remembered("interval", 5);

const Tab = ({ name, label }) => html`<button
  role="tab"
  id="chart-tab-${name}"
  aria-selected=${shown.value === name ? "true" : "false"}
  aria-controls="chart-view"
  onClick=${() => (shown.value = name)}
>
  ${label}
</button>`;

const Intervals = () => html`<div class="choice small intervals" role="radiogroup" aria-label="Candle interval">
  ${INTERVALS.map(
    ([label, seconds]) => html`<button
      key=${label}
      role="radio"
      aria-checked=${interval.value === seconds ? "true" : "false"}
      onClick=${() => (interval.value = seconds)}
    >
      ${label}
    </button>`,
  )}
</div>`;

export const Charts = () => html`<section class="panel charts" data-panel="chart" aria-label="Charts">
  <header class="panel-head">
    <h2 class="hidden">Charts</h2>
    <div class="tablist" role="tablist" aria-label="Charts">
      <${Tab} name="price" label="Price" />
      <${Tab} name="depth" label="Depth" />
    </div>
    ${shown.value === "price" ? html`<${Intervals} />` : null}
  </header>
  <div class="chart-view" id="chart-view" role="tabpanel" aria-labelledby="chart-tab-${shown.value}">
    ${shown.value === "price"
      ? html`<${PriceChart} key=${`${marketName.value}/${interval.value}`} seconds=${interval.value} />`
      : html`<${DepthChart} key=${marketName.value} />`}
  </div>
</section>`;
