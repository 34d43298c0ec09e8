// The order book as a ladder: asks above, the spread, bids below, best prices in the middle.
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { BookTabs } from "./booktabs.js";
import { condition } from "./condition.js";
import { fromUnits, grouped, short, toSize, trimmed } from "./decimal.js";
import { oneClick, sendAt } from "./form.js";
import { felt } from "./felt.js";
import { html } from "./html.js";
import { layout } from "./layout.js";
import { LevelHint, MINE_MAX, placeText, point, pointed, unpoint } from "./levelhint.js";
import { PeerMark, peerName } from "./peers.js";
import { queuePlaces } from "./queueplaces.js";
import { book, bookVersion, columnPlaces, draft, group, market, openOrders, places, shares } from "./store.js";

const ROW_PX = 20; // at least
const HEAD_PX = 24;
const MIDDLE_PX = 32;
const GROUPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000, 100000];
const MARKS_MAX = 3; // peers marked in a level; the title names all
const FLASH_MS = 300;
const SEEN_MAX = 1000; // levels whose sizes are remembered
const ROWS_MAX = 60;
const COMPACT_PX = 208; // below this width a level has a price and a quantity; book.css knows it too
const columns = signal(4);
const rowHeight = signal(ROW_PX);
const rows = signal(14); // per side, as many as fit

// My open orders, by side and price, the newest first.
function ownLevels() {
  const own = { buy: new Map(), sell: new Map() };
  for (const order of openOrders.value) {
    if (order.market !== book.market || !order.price) continue;
    const there = own[order.side].get(order.price);
    if (there) there.push(order);
    else own[order.side].set(order.price, [order]);
  }
  return own;
}

function levelsOf(side, own, taken, count, scale) {
  const { price, quantity } = places.value;
  let total = 0;
  return side.grouped(count, scale).map((level) => {
    total += level.size;
    return {
      units: level.units,
      price: fromUnits(level.units, price),
      quantity: fromUnits(level.size, quantity),
      total: fromUnits(total, quantity),
      size: level.size,
      sum: total,
      orders: level.orders,
      prices: level.prices.length,
      peers: shares.of(taken, level.prices),
      mine: level.prices.flatMap((units) => own.get(fromUnits(units, price))?.toReversed() ?? []),
    };
  });
}

// The peers that took the orders of a level: a mark for each, and the amounts as text.
function Peers({ peers, orders }) {
  const said = peers.map(
    ({ member, size, orders: count }) =>
      `${peerName(member - 1)} ${trimmed(fromUnits(size, places.value.quantity))} in ${count} ${count === 1 ? "order" : "orders"}`,
  );
  return html`<td class="amount count" title=${said.length ? `Taken by ${said.join(", ")}` : ""}>
    <span class="level-peers" aria-hidden="true">
      ${peers.slice(0, MARKS_MAX).map(
        ({ member }) => html`<${PeerMark} key=${member} index=${member - 1} name=${peerName(member - 1)} />`,
      )}${peers.length > MARKS_MAX ? "+" : ""}
    </span>
    ${orders === 1 ? null : orders}${said.length ? html`<span class="hidden">, taken by ${said.join(", ")}</span>` : null}
  </td>`;
}

// Levels that have changed are marked for FLASH_MS. The marks are drawn, which costs less than animations.
let seen = new Map(); // side and price -> size, and when that changed
let seenOf = "";
let settling = 0;
const settled = signal(0); // counts the times that marks ended

function markChanges(levels, side) {
  const now = performance.now();
  for (const level of levels) {
    const key = side + level.price;
    const known = seen.get(key);
    const at = known && known.size !== level.size ? now : (known?.at ?? -FLASH_MS);
    level.changed = now - at < FLASH_MS;
    seen.set(key, { size: level.size, at });
  }
}

function watchChanges(asks, bids) {
  const of = `${book.market}/${group.value}/${book.seq < 0}`;
  if (of !== seenOf || seen.size > SEEN_MAX) seen = new Map();
  seenOf = of;
  markChanges(asks, "ask");
  markChanges(bids, "bid");
  clearTimeout(settling);
  if ([...asks, ...bids].some((level) => level.changed)) settling = setTimeout(() => settled.value++, FLASH_MS);
}

// How much of a level stands before my first order there, as a line below the quantity.
function Queue({ level }) {
  const place = level.mine.map(({ id }) => queuePlaces.value.get(id)).find(Boolean);
  if (!place || level.prices > 1) return null;
  const share = Math.min(1, toSize(place.quantity, places.value.quantity) / level.size);
  return html`<i class="queue" style=${{ "--before": `${(100 * share).toFixed(0)}%` }}></i>`;
}

// My orders at a level, and what stands before them, in words.
function saidOf(mine) {
  const told = mine.slice(0, MINE_MAX).map(({ id }) => [`my order ${id}`, placeText(id)].filter(Boolean).join(" "));
  return [...told, mine.length > MINE_MAX ? `${mine.length - MINE_MAX} more of my orders` : ""].map((text) => text && `${text}, `).join("");
}

function Level({ level, side, deepest, index }) {
  const other = side === "ask" ? "buy" : "sell";
  const fill = (event, part) => {
    felt(event.currentTarget.closest("td"));
    draft.value = { ...part, at: performance.now() };
  };
  const onPrice = (event) => (oneClick.value ? sendAt(level.price, other) : fill(event, { price: level.price }));
  const isMine = level.mine.length > 0;
  const on = (event) => point(event, side, index);
  return html`<tr
    class="level ${side} ${level.changed ? "changed" : ""} ${isMine ? "mine" : ""}"
    onPointerEnter=${on}
    onPointerLeave=${unpoint}
    onFocusIn=${on}
    onFocusOut=${unpoint}
  >
    <td class="price">
      <i class="bar" style=${{ transform: `scaleX(${(level.sum / deepest).toFixed(3)})` }}></i>
      <button
        class="cell"
        tabindex=${index === 0 ? 0 : -1}
        data-ladder
        onClick=${onPrice}
        aria-describedby=${pointed.value?.side === side && pointed.value.index === index ? "level-hint" : undefined}
        aria-label=${oneClick.value ? `${other} at ${grouped(level.price)} at once` : `Use the price ${grouped(level.price)}`}
      >
        ${isMine ? html`<span class="own"></span><span class="hidden">${saidOf(level.mine)}</span>` : null}${grouped(level.price)}
      </button>
    </td>
    <td class="amount" onClick=${(event) => fill(event, { price: level.price, quantity: trimmed(level.quantity) })}>
      ${short(level.quantity, columnPlaces())}${isMine ? html`<${Queue} level=${level} />` : null}
    </td>
    <td class="amount total" onClick=${(event) => fill(event, { price: level.price, quantity: trimmed(level.total), side: other })}>
      ${short(level.total, columnPlaces())}
    </td>
    <${Peers} peers=${level.peers} orders=${level.orders} />
  </tr>`;
}

// The share of the bids in the quantity of the shown levels of both sides, in percent; null if there is none.
const bidShare = (bids, asks) => {
  const [bought, sold] = [bids.at(-1)?.sum ?? 0, asks.at(-1)?.sum ?? 0];
  return bought + sold ? (100 * bought) / (bought + sold) : null;
};

function Imbalance({ share, count }) {
  if (share === null) return null;
  const text = `${share.toFixed(0)} % of the quantity in the ${count} best levels a side are bids`;
  return html`<span class="imbalance" style=${{ "--share": `${share.toFixed(1)}%` }} title=${text}>
    <b aria-hidden="true">${share.toFixed(0)} %</b><span class="hidden">${text}</span>
  </span>`;
}

function Middle({ bid, ask, share }) {
  const unit = places.value.price;
  const spread = bid && ask ? ask.units - bid.units : null;
  const middle = spread === null ? null : (ask.units + bid.units) / 2;
  const percent = (100 * spread) / middle;
  const part = percent < 0.001 ? "< 0.001" : percent.toFixed(percent < 0.1 ? 3 : 2);
  return html`<tr class="middle">
    <td colspan=${columns.value}>
      <div class="middle-line">
        ${spread === null
          ? html`<span class="spread quiet">${!condition.value.fresh ? "not known" : bid || ask ? "one-sided" : "empty"}</span>`
          : html`<span><span class="quiet">Mid</span> <strong>${grouped(trimmed(fromUnits(Math.round(middle * 10), unit + 1), unit))}</strong></span>
              <span class="spread"><span class="quiet">Spread</span> ${trimmed(fromUnits(spread, unit), unit)}<span class="share quiet"> ${part} %</span></span>`}
        <${Imbalance} share=${share} count=${rows.value} />
      </div>
    </td>
  </tr>`;
}

function Empty({ count, label }) {
  return html`<tr class="empty">
    <td colspan=${columns.value} style=${{ height: `${count * rowHeight.value}px` }}>${label}</td>
  </tr>`;
}

const MarketHint = () => html`In the demo, <code>make market</code> fills the book.`;

// Never remembered: a newly opened page sends nothing by one click.
const OneClick = () => html`<label
  class="check one-click ${oneClick.value ? "on" : ""}"
  title="A click on a price sends a limit order at it, of the form's quantity: a buy at an ask, a sell at a bid"
>
  <input type="checkbox" checked=${oneClick.value} onChange=${(event) => (oneClick.value = event.target.checked)} />
  One click
</label>`;

function Grouping() {
  const tick = places.value.price;
  return html`<label class="grouping">
    <span class="hidden">Price step</span>
    <select value=${group.value} onChange=${(event) => (group.value = Number(event.target.value))}>
      ${GROUPS.map((step) => html`<option key=${step} value=${step}>${trimmed(fromUnits(step * tickUnits(), tick))}</option>`)}
    </select>
  </label>`;
}

// Price units of one tick: 25 for a tick of 0.25.
const tickUnits = () => Number((market.value?.tick ?? "1").replace(".", ""));

// Arrow keys move between prices; Tab reaches only one of them.
function onKey(event) {
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  const cells = [...event.currentTarget.querySelectorAll("[data-ladder]")];
  const next = cells[cells.indexOf(document.activeElement) + (event.key === "ArrowUp" ? -1 : 1)];
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

// The rows that fit, a half for each side.
function useRows() {
  const frame = useRef(null);
  useLayoutEffect(() => {
    const fit = () => {
      columns.value = frame.current.clientWidth < COMPACT_PX ? 2 : 4;
      const room = frame.current.clientHeight - HEAD_PX - MIDDLE_PX;
      rows.value = Math.max(3, Math.min(ROWS_MAX, Math.floor(room / 2 / ROW_PX)));
      rowHeight.value = Math.max(ROW_PX, room / 2 / rows.value); // no empty strip below
    };
    fit(); // before the first drawing is seen
    const watch = new ResizeObserver(fit);
    watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  return frame;
}

const HEADS = [
  ["Price", ""],
  ["Quantity", "amount"],
  ["Total", "amount total"],
];

export function Ladder() {
  const frame = useRows();
  const { fresh } = condition.value;
  bookVersion.value; // redraws when the book changes
  settled.value;
  const own = ownLevels();
  const scale = group.value * tickUnits();
  const asks = levelsOf(book.asks, own.sell, shares.asks, rows.value, scale);
  const bids = levelsOf(book.bids, own.buy, shares.bids, rows.value, scale);
  watchChanges(asks, bids);
  const deepest = Math.max(1, asks.at(-1)?.sum ?? 0, bids.at(-1)?.sum ?? 0);
  const row = (side) => (level, index) => html`<${Level} key=${index} ...${{ level, side, deepest, index }} />`;
  const atAsk = pointed.value?.side === "ask";
  const hinted = pointed.value && fresh ? (atAsk ? asks : bids)[pointed.value.index] : null;
  const isEmpty = book.ready && fresh && !asks.length && !bids.length;
  const rest = (levels, label) =>
    levels.length < rows.value ? html`<${Empty} count=${rows.value - levels.length} label=${levels.length ? "" : label} />` : null;
  return html`<section class="panel ladder ${fresh ? "" : "old"}" aria-label="Order book">
    <header class="panel-head">
      ${layout.value === "wide" ? html`<h2>Order book</h2>` : html`<${BookTabs} />`}
      <div class="panel-end"><${OneClick} /><${Grouping} /></div>
    </header>
    <div class="ladder-frame" ref=${frame}>
      <table class="book" style="--row:${rowHeight.value}px" onKeyDown=${onKey}>
        <caption class="hidden">
          Order book of ${book.market}: asks from high to low, then bids from high to low
        </caption>
        <thead>
          <tr>
            ${HEADS.map(([head, kind]) => html`<th key=${head} scope="col" class=${kind}>${head}</th>`)}
            <th scope="col" class="amount count"><abbr title="The peers that took the orders of a level, and how many orders if not one">Peers</abbr></th>
          </tr>
        </thead>
        <tbody class="asks">
          ${rest(asks, isEmpty ? "No orders yet." : fresh && "No asks")} ${asks.map(row("ask")).reverse()}
        </tbody>
        <tbody>
          <${Middle} bid=${book.bids.best(1)[0]} ask=${book.asks.best(1)[0]} share=${bidShare(bids, asks)} />
        </tbody>
        <tbody class="bids">
          ${bids.map(row("bid"))} ${rest(bids, isEmpty ? html`<${MarketHint} />` : fresh && "No bids")}
        </tbody>
      </table>
    </div>
    ${hinted ? html`<${LevelHint} levels=${(atAsk ? book.asks : book.bids).upTo(hinted.units)} mine=${hinted.mine} />` : null}
  </section>`;
}
