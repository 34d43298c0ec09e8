// The best bid and the best ask, in sight in every view of a narrow screen. A tap takes the price.
import { condition } from "./condition.js";
import { fromUnits, grouped, short, trimmed } from "./decimal.js";
import { html } from "./html.js";
import { felt } from "./felt.js";
import { view } from "./layout.js";
import { book, bookVersion, draft, places } from "./store.js";

function Quote({ kind, level }) {
  const take = (event) => {
    view.value = "book";
    felt(event.currentTarget);
    draft.value = { price: level.price, side: kind === "bid" ? "sell" : "buy", at: performance.now() };
  };
  const word = kind === "bid" ? "Bid" : "Ask";
  if (!level) return html`<button class="quote ${kind}" disabled>${word} <b>—</b></button>`;
  return html`<button class="quote ${kind}" onClick=${take} title="Use this price">
    <span>${word}</span> <b>${grouped(trimmed(fromUnits(level.units, places.value.price), 2))}</b>
    <span class="quiet">${short(level.quantity, 0, 7)}</span>
  </button>`;
}

export function BestPrices() {
  bookVersion.value;
  return html`<section class="quotes ${condition.value.fresh ? "" : "old"}" aria-label="Best prices">
    <${Quote} kind="bid" level=${book.bids.best(1)[0]} />
    <${Quote} kind="ask" level=${book.asks.best(1)[0]} />
  </section>`;
}
