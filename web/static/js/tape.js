// The recent trades, newest first, each with the peers of its two orders.
import { grouped, short } from "./decimal.js";
import { BookTabs } from "./booktabs.js";
import { condition } from "./condition.js";
import { clock } from "./format.js";
import { html } from "./html.js";
import { layout } from "./layout.js";
import { PeerBadge } from "./peers.js";
import { columnPlaces, trades } from "./store.js";

const SHOWN = 100;

const Row = ({ trade }) => html`<tr class="trade ${trade.side}">
  <td class="time">${clock(trade.time)}</td>
  <td class="price">
    <span class="hidden">${trade.side === "buy" ? "bought" : "sold"} at</span>
    ${grouped(trade.price)}
  </td>
  <td class="amount">${short(trade.quantity, columnPlaces())}</td>
  <td class="who" title="Resting order ${trade.maker}, taken by ${trade.taker}">
    <${PeerBadge} id=${trade.maker} /><span class="quiet" aria-hidden="true">‹</span
    ><span class="hidden"> taken by </span><${PeerBadge} id=${trade.taker} />
  </td>
</tr>`;

export const Tape = () => html`<section class="panel tape ${condition.value.fresh ? "" : "old"}" aria-label="Trades">
  <header class="panel-head">${layout.value === "wide" ? html`<h2>Trades</h2>` : html`<${BookTabs} />`}</header>
  <div class="scroll" tabindex="0" role="group" aria-label="Recent trades">
    <table>
      <caption class="hidden">Recent trades, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">Price</th>
          <th scope="col">Quantity</th>
          <th scope="col">Peers</th>
        </tr>
      </thead>
      <tbody>
        ${trades.value.slice(0, SHOWN).map((trade, index) => html`<${Row} key=${index} trade=${trade} />`)}
      </tbody>
    </table>
    ${trades.value.length || !condition.value.fresh ? null : html`<p class="nothing">No trade yet.<br />In the demo, <code>make market</code> starts some.</p>`}
  </div>
</section>`;
