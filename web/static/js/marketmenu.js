// The choice of the market: a search, and every market with its last price and its change.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { grouped, trimmed } from "./decimal.js";
import { html } from "./html.js";
import { Menu } from "./menu.js";
import { chooseMarket, marketName, markets } from "./store.js";

const ASKED_MAX = 30; // markets whose prices are loaded when the menu opens

const sought = signal("");
const tickers = signal({}); // symbol -> its ticker when the menu was opened

async function load() {
  const some = markets.peek().slice(0, ASKED_MAX);
  for (const { symbol } of some) {
    const response = await fetch(`/ticker?${new URLSearchParams({ market: symbol })}`).catch(() => null);
    if (!response?.ok) return;
    tickers.value = { ...tickers.peek(), [symbol]: await response.json() };
  }
}

const found = () => markets.value.filter(({ symbol }) => symbol.toLowerCase().includes(sought.value.trim().toLowerCase()));

function Row({ symbol, status, onPick }) {
  const ticker = tickers.value[symbol];
  const change = ticker?.change_percent;
  const way = Number(change) > 0 ? "up" : Number(change) < 0 ? "down" : "quiet";
  return html`<button class="market-row" aria-current=${symbol === marketName.value ? "true" : undefined} onClick=${onPick}>
    <span class="market-name">${symbol}${status === "open" ? "" : html` <small>${status}</small>`}</span>
    <span class="amount">${ticker?.last ? grouped(trimmed(ticker.last, 2)) : "—"}</span>
    <span class="amount ${way}">${change ? `${Number(change) > 0 ? "+" : ""}${change} %` : "—"}</span>
  </button>`;
}

function List({ close }) {
  const search = useRef(null);
  useEffect(() => {
    sought.value = "";
    load();
    search.current.focus();
  }, []);
  const pick = (symbol) => {
    chooseMarket(symbol);
    close();
  };
  const onKeyDown = (event) => {
    const all = [...event.currentTarget.querySelectorAll("input, .market-row")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) all[Math.max(0, all.indexOf(document.activeElement) + step)]?.focus();
    else if (event.key === "Enter" && event.target === search.current && found().length) pick(found()[0].symbol);
    else return;
    event.preventDefault();
  };
  return html`<div onKeyDown=${onKeyDown}>
    <input class="search" type="search" ref=${search} placeholder="Search markets" aria-label="Search markets" value=${sought.value} onInput=${(event) => (sought.value = event.target.value)} />
    <p class="market-row heads quiet" aria-hidden="true"><span>Market</span><span class="amount">Last price</span><span class="amount">24 h change</span></p>
    ${found().map(({ symbol, status }) => html`<${Row} key=${symbol} symbol=${symbol} status=${status} onPick=${() => pick(symbol)} />`)}
    ${found().length ? null : html`<p class="nothing">No market with “${sought.value}” in its name.</p>`}
  </div>`;
}

export const MarketMenu = () => html`<${Menu}
  id="market-menu"
  kind="market-choice"
  label="Markets"
  title="Choose a market"
  button=${html`<span class="hidden">Market </span>${marketName.value || "—"}`}
  >${(close) => html`<${List} close=${close} />`}<//
>`;
