// The line at the top: market, last price, the last day, the peers, and the menus.
import { AccountMenu } from "./accountmenu.js";
import { aliveCount, condition } from "./condition.js";
import { grouped, short, trimmed } from "./decimal.js";
import { FollowerMark } from "./following.js";
import { showHelp } from "./help.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { layout } from "./layout.js";
import { MarketMenu } from "./marketmenu.js";
import { showSettings } from "./settingsdialog.js";
import { openMesh } from "./status.js";
import { latency, mesh, resyncs, ticker, trades } from "./store.js";
import { clock } from "./format.js";
import { theme, toggleTheme } from "./theme.js";

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

// The condition, and how many peers are alive if that is known. Opens the mesh view.
function Health() {
  const { name, tone, sign, word, text, known } = condition.value;
  const { peers } = mesh.value;
  const alive = aliveCount();
  const isLive = name === "live";
  return html`<button class="pill health ${tone} ${name}" title="${text} Resyncs so far: ${resyncs.value}." onClick=${openMesh}>
    <span class="pill-sign" aria-hidden="true">${sign}</span>
    <span class="pill-word">${word}</span>
    ${known ? html`<span class="pill-peers ${alive < peers.length ? "some" : ""}">${alive}/${peers.length}<span class="pill-word"> peers</span></span>` : null}
    ${isLive && latency.value !== null ? html`<span class="pill-more" title="Time of this peer's answer">${ms(latency.value)}</span>` : null}
  </button>`;
}

function LastPrice() {
  const [last] = trades.value;
  if (!last) return html`<span class="last quiet">—</span>`;
  const before = trades.value.find((trade) => trade.price !== last.price);
  const rose = !before || Number(last.price) >= Number(before.price);
  const way = condition.value.fresh ? (rose ? "up" : "down") : "old";
  return html`<span class="last ${way}">
    ${grouped(trimmed(last.price, 2))}<i class="arrow ${rose ? "rise" : "fall"}" aria-hidden="true"></i>
    <span class="hidden">${condition.value.fresh ? (rose ? "risen" : "fallen") : "not current"}</span>
  </span>`;
}

const Fact = ({ label, value, title, kind = "" }) => html`<div class="fact ${kind}" title=${title}>
  <dt>${label}</dt>
  <dd>${value}</dd>
</div>`;

// The last 24 hours, or less if this peer knows less: then the labels say since when.
export function Day() {
  const day = ticker.value;
  const some = day && day.open !== null;
  const partial = some && day.since > Date.now() - 86_400_000 + 60_000;
  const span = partial ? `since ${clock(day.since)}` : "24 h";
  const sign = some && Number(day.change) > 0 ? "+" : "";
  const way = some && Number(day.change) && condition.value.fresh ? (sign ? "up" : "down") : "";
  const amount = (text) => (some ? grouped(text) : "—");
  return html`<dl class="facts day ${condition.value.fresh ? "" : "old"}" aria-label="Last 24 hours">
    <${Fact}
      kind="change ${way}"
      label=${partial ? "Change" : "24 h change"}
      value=${some ? `${sign}${day.change_percent.replace(/^-(?=[0.]+$)/, "")} %` : "—"}
      title=${some ? `${sign}${grouped(day.change)} ${span}` : ""}
    />
    <${Fact} label=${partial ? "High" : "24 h high"} value=${amount(some && trimmed(day.high, 2))} title="Highest price, ${span}" />
    <${Fact} label=${partial ? "Low" : "24 h low"} value=${amount(some && trimmed(day.low, 2))} title="Lowest price, ${span}" />
    <${Fact} label=${partial ? "Volume" : "24 h volume"} value=${amount(some && short(day.volume))} title=${some ? `${trimmed(day.volume)} traded, ${span}` : ""} />
  </dl>`;
}

export const Header = () => html`<header class="top">
  <h1 class="hidden">p2p-orderbook, the book on ${mesh.value.peer ?? "this peer"}</h1>
  <a class="brand" href="/" aria-label="p2p-orderbook"><img src="/static/icon.svg" alt="" width="24" height="24" /></a>
  <${MarketMenu} />
  <${LastPrice} />
  ${layout.value === "narrow" ? null : html`<${Day} />`}
  <div class="top-end">
    ${layout.value === "narrow" ? null : html`<${FollowerMark} />`}
    <${Health} />
    <${AccountMenu} />
    <button class="icon" onClick=${toggleTheme} aria-label="Use the ${theme.value === "dark" ? "light" : "dark"} theme">
      <${Icon} name=${theme.value === "dark" ? "sun" : "moon"} />
    </button>
    ${layout.value === "narrow"
      ? null // the help has them too
      : html`<button class="icon" onClick=${() => (showSettings.value = true)} aria-label="Settings"><${Icon} name="settings" /></button>`}
    <button class="icon" onClick=${() => (showHelp.value = true)} aria-label="Keyboard help"><${Icon} name="help" /></button>
  </div>
</header>`;
