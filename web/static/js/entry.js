// The order form.
import { useId } from "preact/hooks";
import { Choice } from "./choice.js";
import { fromUnits, toUnits } from "./decimal.js";
import { bestPrice, clear, errors, estimate, form, hindrance, send, sending, side, takeBest, write } from "./form.js";
import { isPriced, isShown } from "./form_rules.js";
import { html } from "./html.js";
import { zone } from "./settings.js";
import { book, market, places } from "./store.js";
import { amountOf } from "./typed.js";

const TYPES = [
  ["limit", "Limit"],
  ["market", "Market"],
  ["stop_limit", "Stop limit"],
  ["stop", "Stop"],
];
const TIFS = [
  ["gtc", "GTC", "Good till cancelled"],
  ["ioc", "IOC", "Immediate or cancel: what does not fill at once expires"],
  ["fok", "FOK", "Fill or kill: fills whole at once, or not at all"],
  ["gtd", "GTD", "Good till date"],
];
const SELF_TRADES = [
  ["none", "trade"],
  ["cancel_resting", "cancel the resting one"],
  ["cancel_incoming", "cancel this one"],
  ["cancel_both", "cancel both"],
  ["decrement", "shrink both"],
];
const SIDES = [
  ["buy", "Buy"],
  ["sell", "Sell"],
];

const baseName = () => market.value?.symbol.split("-")[0] ?? "";
const quoteName = () => market.value?.symbol.split("-")[1] ?? "";

// Moves a field one step up or down; an empty price starts from the best one.
function nudge(name, event) {
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!step || !market.value) return;
  event.preventDefault();
  const priced = name === "price" || name === "stop_price";
  const unit = Number((priced ? market.value.tick : "1").replace(".", ""));
  const at = priced ? places.value.price : places.value.quantity;
  const size = (priced ? unit : quantityStep(at)) * (event.shiftKey ? 10 : 1);
  const best = (side.value === "buy" ? book.bids : book.asks).best(1)[0];
  const from = toUnits(amountOf(form.value[name]) ?? "", at) ?? (priced ? (best?.units ?? 0) : 0);
  write(name, fromUnits(Math.max(priced ? unit : 0, from + step * size), at));
}

// A hundredth of a whole unit, or one lot if that is larger.
const quantityStep = (at) => Math.max(1, 10 ** (at - 2));

// Shows how a typed amount is read, once the field is left.
function tidy(name) {
  const typed = form.value[name];
  const text = amountOf(typed);
  if (text !== null && text !== typed.trim()) write(name, text);
}

function Field({ name, label, unit, more }) {
  const id = useId();
  const error = errors.value[name];
  return html`<div class="field ${error ? "wrong" : ""}">
    <div class="field-head"><label for=${id}>${label}</label>${more}</div>
    <div class="input">
      <input
        id=${id}
        name=${name}
        inputmode="decimal"
        autocomplete="off"
        spellcheck=${false}
        maxlength="40"
        placeholder="0"
        value=${form.value[name]}
        aria-invalid=${error ? "true" : undefined}
        aria-describedby=${error ? `${id}-error` : undefined}
        onInput=${(event) => write(name, event.target.value)}
        onBlur=${() => tidy(name)}
        onKeyDown=${(event) => nudge(name, event)}
      />
      <span class="unit" aria-hidden="true">${unit}</span>
    </div>
    ${error ? html`<p class="error" id="${id}-error" role="alert">${error}</p>` : null}
  </div>`;
}

const BESTS = [
  ["bid", "Bid", "The best bid"],
  ["ask", "Ask", "The best ask"],
];

// Buttons that put the best prices into the form.
const Bests = () => html`<span class="bests" role="group" aria-label="Best prices">
  ${BESTS.map(
    ([kind, word, title]) =>
      html`<button key=${kind} type="button" class="best ${kind}" title=${title} aria-label=${title} disabled=${!bestPrice(kind)} onClick=${() => takeBest(kind)}>${word}</button>`,
  )}
</span>`;

const Line = ({ name, value, title, kind = "" }) => html`<p class=${kind} title=${title}><span>${name}</span> <b>${value}</b></p>`;

// What the order would do now, before it is sent.
function Estimate() {
  const found = estimate.value;
  if (!found) return html`<div class="estimate quiet"><${Line} name="Total" value="—" /></div>`;
  const isPostOnly = isShown(form.value, "post_only") && form.value.post_only;
  return html`<div class="estimate">
    <${Line} name=${isPriced(form.value) ? "Total" : "About"} value=${found.total ? `${found.total} ${quoteName()}` : "—"} />
    ${found.filled && html`<${Line} kind="quiet" name="Trades at once" value="${found.filled} ${baseName()}" title="As far as the book shows now" />`}
    ${found.average && html`<${Line} kind="quiet" name="Average price" value=${found.average} title="Down to the worst price, ${found.worst}" />`}
    ${found.slippage && html`<${Line} kind="quiet" name="Slippage" value=${found.slippage} title="How much worse the average is than the best price" />`}
    ${found.rests && html`<${Line} kind="quiet" name="Rests in the book" value="${found.rests} ${baseName()}" />`}
    ${found.expires && html`<p class="caution">${found.expires} ${baseName()} more than the book offers: that part expires</p>`}
    ${found.waits && html`<p class="quiet">Waits until the market trades at the stop price</p>`}
    ${found.crosses && isPostOnly && html`<p class="caution">Would trade at once: post-only rejects it</p>`}
    ${found.isOutside && html`<p class="caution">Outside the price band around the last trade: it would be rejected</p>`}
  </div>`;
}

// Opens by itself where there is room, and while something inside needs to be seen.
const ROOMY = matchMedia("(min-height: 860px) and (min-width: 1280px)");

function More() {
  const { display, self_trade: selfTrade } = form.value;
  const isUsed = ROOMY.matches || selfTrade !== "none" || (isShown(form.value, "display") && Boolean(display || errors.value.display));
  return html`<details class="more" open=${isUsed || undefined}>
    <summary>More</summary>
    ${isShown(form.value, "display") ? html`<${Field} name="display" label="Show at a time (iceberg)" unit=${baseName()} />` : null}
    <label class="line">
      <span>If it meets my own order</span>
      <select value=${selfTrade} onChange=${(event) => write("self_trade", event.target.value)}>
        ${SELF_TRADES.map(([name, text]) => html`<option key=${name} value=${name}>${text}</option>`)}
      </select>
    </label>
  </details>`;
}

const Expiry = () => html`<div class="field ${errors.value.expire ? "wrong" : ""}">
  <label for="expire">Good till${zone.value === "utc" ? " (UTC)" : ""}</label>
  <div class="input">
    <input id="expire" type="datetime-local" value=${form.value.expire} onInput=${(event) => write("expire", event.target.value)} />
  </div>
  ${errors.value.expire ? html`<p class="error" role="alert">${errors.value.expire}</p>` : null}
</div>`;

function Rules() {
  const may = isShown(form.value, "post_only");
  return html`<div class="rules">
    <${Choice} kind="small" label="Time in force" value=${form.value.tif} options=${TIFS} onPick=${(name) => write("tif", name)} />
    <label class="check ${may ? "" : "off"}" title="Never trades at once: it is rejected if it would">
      <input type="checkbox" checked=${may && form.value.post_only} disabled=${!may} onChange=${(event) => write("post_only", event.target.checked)} />
      Post-only
    </label>
  </div>`;
}

function onSubmit(event) {
  event.preventDefault();
  if (document.activeElement?.name) tidy(document.activeElement.name);
  send();
}

export const Entry = () => html`<section class="panel entry" data-panel="trade" aria-label="Order entry">
  <form onSubmit=${onSubmit} class=${side.value} noValidate>
    <${Choice} kind="sides" label="Side" value=${side.value} options=${SIDES} onPick=${(name) => write("side", name)} />
    <${Choice} kind="types" label="Order type" value=${form.value.type} options=${TYPES} onPick=${(name) => write("type", name)} />
    ${isShown(form.value, "stop_price") ? html`<${Field} name="stop_price" label="Stop price" unit=${quoteName()} />` : null}
    ${isPriced(form.value) ? html`<${Field} name="price" label="Price" unit=${quoteName()} more=${html`<${Bests} />`} />` : null}
    <${Field} name="quantity" label="Quantity" unit=${baseName()} />
    ${isShown(form.value, "tif") ? html`<${Rules} />` : null}
    ${isShown(form.value, "expire") ? html`<${Expiry} />` : null}
    <${More} />
    <${Estimate} />
    ${errors.value.form ? html`<p class="error" role="alert">${errors.value.form}</p>` : null}
    <button class="send ${side.value}" disabled=${Boolean(hindrance.value)} title=${hindrance.value}>
      ${side.value === "buy" ? "Buy" : "Sell"} ${baseName()}
      ${sending.value ? html`<span class="spinner" aria-label="waiting for the peers"></span>` : null}
    </button>
    <button type="button" class="hidden" onClick=${clear}>Clear the form</button>
  </form>
</section>`;
