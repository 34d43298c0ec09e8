// The line at the top: market, last price, peers, digest and connection.
import { grouped, short, trimmed } from "./decimal.js";
import { showHelp } from "./help.js";
import { html } from "./html.js";
import { OwnKey } from "./ownkey.js";
import {
  account,
  chooseAccount,
  chooseMarket,
  commit,
  health,
  isAdmin,
  latency,
  marketName,
  markets,
  mesh,
  resyncs,
  ticker,
  trades,
  usesOwnKey,
} from "./store.js";
import { clock } from "./tape.js";
import { theme, toggleTheme } from "./theme.js";

const HEALTH = {
  live: ["●", "Live", "Every change of the book reaches this page as it happens."],
  connecting: ["◌", "Connecting", "Opening the connection to this peer."],
  starting: ["◌", "Peer starting", "This peer's node is not answering yet."],
  stale: ["▲", "Stale", "This peer's node is silent: what you see may be old."],
  resyncing: ["⟳", "Resyncing", "A message was lost: the page loads the whole book again."],
  halted: ["■", "Stopped", "This peer has stopped by itself: the page shows its state at that time."],
  offline: ["✕", "Offline", "No connection to this peer: trying again."],
};

function Connection() {
  const [sign, word, title] = HEALTH[health.value];
  const ms = latency.value === null ? "" : `${latency.value < 10 ? latency.value.toFixed(1) : Math.round(latency.value)} ms`;
  return html`<span class="pill health ${health.value}" title="${title} Resyncs so far: ${resyncs.value}." role="status">
    <span aria-hidden="true">${sign}</span> ${word}
    ${health.value === "live" && ms ? html`<span class="quiet pill-more">${ms}</span>` : null}
  </span>`;
}

function LastPrice() {
  const [last] = trades.value;
  if (!last) return html`<span class="last quiet">—</span>`;
  const before = trades.value.find((trade) => trade.price !== last.price);
  const rose = !before || Number(last.price) >= Number(before.price);
  return html`<span class="last ${rose ? "up" : "down"}">
    ${grouped(trimmed(last.price, 2))}<span class="arrow" aria-hidden="true">${rose ? "▲" : "▼"}</span>
    <span class="hidden">${rose ? "risen" : "fallen"}</span>
  </span>`;
}

// The last 24 hours, or less if this peer knows less: then the labels say since when.
function Day() {
  const day = ticker.value;
  if (!day || day.open === null) return null;
  const partial = day.since > Date.now() - 86_400_000 + 60_000;
  const span = partial ? `since ${clock(day.since)}` : "24 h";
  const sign = Number(day.change) > 0 ? "+" : "";
  const way = Number(day.change) ? (sign ? "up" : "down") : "";
  const percent = day.change_percent.replace(/^-(?=[0.]+$)/, "");
  return html`<dl class="facts day" aria-label="Last 24 hours">
    <div class="fact ${way}">
      <dt>${partial ? "Change" : "24 h"}</dt>
      <dd title="${sign}${grouped(day.change)} ${span}">${sign}${percent} %</dd>
    </div>
    <${Fact} label="High" value=${grouped(trimmed(day.high, 2))} title="Highest price, ${span}" />
    <${Fact} label="Low" value=${grouped(trimmed(day.low, 2))} title="Lowest price, ${span}" />
    <${Fact} label="Volume" value=${grouped(short(day.volume))} title="${trimmed(day.volume)} traded, ${span}" />
  </dl>`;
}

const Fact = ({ label, value, title, mono }) => html`<div class="fact" title=${title}>
  <dt>${label}</dt>
  <dd class=${mono ? "mono" : ""}>${value}</dd>
</div>`;

// Commit, finality and every peer are in the mesh panel.
function Facts() {
  const { peers } = mesh.value;
  const alive = peers.filter((peer) => peer.alive).length;
  const digest = commit.value.digest;
  return html`<dl class="facts">
    <${Fact} label="Peers" value="${alive}/${peers.length}" title="Members of the mesh that are alive" />
    <${Fact} label="State digest" value=${digest ? digest.slice(0, 8) : "—"} mono title="Of the whole market after commit ${commit.value.commit}: ${digest}" />
  </dl>`;
}

export const Header = () => html`<header class="top">
  <h1 class="hidden">p2p-orderbook, the book on ${mesh.value.peer ?? "this peer"}</h1>
  <a class="brand" href="/" aria-label="p2p-orderbook"
    ><img src="/static/icon.svg" alt="" width="26" height="26" /><span class="brand-name">p2p-orderbook</span></a
  >
  <label class="market-choice">
    <span class="hidden">Market</span>
    <select value=${marketName.value} onChange=${(event) => chooseMarket(event.target.value)}>
      ${markets.value.map((m) => html`<option key=${m.symbol} value=${m.symbol}>${m.symbol}</option>`)}
    </select>
  </label>
  <${LastPrice} />
  <${Day} />
  <${Facts} />
  <div class="top-end">
    <${OwnKey} />
    <label class="account" hidden=${usesOwnKey.value} title=${isAdmin.value ? "Orders belong to this name; this session may use any" : "Orders belong to this name"}>
      <span>Account</span>
      <input
        readonly=${!isAdmin.value}
        value=${account.value}
        maxlength="64"
        pattern="[A-Za-z0-9_.@:+\\-]+"
        spellcheck=${false}
        onChange=${(event) =>
          event.target.value && event.target.checkValidity()
            ? chooseAccount(event.target.value)
            : (event.target.value = account.value)}
      />
    </label>
    <${Connection} />
    <button class="icon" onClick=${toggleTheme} aria-label="Use the ${theme.value === "dark" ? "light" : "dark"} theme">
      ${theme.value === "dark" ? "☀" : "☾"}
    </button>
    <button class="icon help-button" onClick=${() => (showHelp.value = true)} aria-label="Keyboard help">?</button>
  </div>
</header>`;
