// The order form.
import { useId } from "preact/hooks";
import { fromUnits, toUnits } from "./decimal.js";
import {
  clear,
  estimate,
  fields,
  hindrance,
  isPriced,
  isStop,
  mayRest,
  mistakes,
  postOnly,
  selfTrade,
  send,
  sending,
  side,
  tif,
  type,
  write,
} from "./form.js";
import { html } from "./html.js";
import { book, market, places } from "./store.js";

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
  const from = toUnits(fields.value[name] || "x", at) ?? (priced ? (best?.units ?? 0) : 0);
  write(name, fromUnits(Math.max(priced ? unit : 0, from + step * size), at));
}

// A hundredth of a whole unit, or one lot if that is larger.
const quantityStep = (at) => Math.max(1, 10 ** (at - 2));

function Field({ name, label, unit, more }) {
  const id = useId();
  const error = mistakes.value[name];
  return html`<div class="field ${error ? "wrong" : ""}">
    <label for=${id}>${label}</label>
    <div class="input">
      <input
        id=${id}
        name=${name}
        inputmode="decimal"
        autocomplete="off"
        spellcheck=${false}
        maxlength="40"
        placeholder="0"
        value=${fields.value[name]}
        aria-invalid=${error ? "true" : undefined}
        aria-describedby=${error ? `${id}-error` : undefined}
        onInput=${(event) => write(name, event.target.value)}
        onKeyDown=${(event) => nudge(name, event)}
      />
      <span class="unit" aria-hidden="true">${unit}</span>
    </div>
    ${error ? html`<p class="error" id="${id}-error" role="alert">${error}</p>` : more}
  </div>`;
}

const Choice = ({ value, options, label, onPick, kind }) => html`<div class="choice ${kind}" role="radiogroup" aria-label=${label}>
  ${options.map(
    ([name, text, title]) => html`<button
      key=${name}
      type="button"
      role="radio"
      class=${name}
      title=${title}
      aria-checked=${value === name ? "true" : "false"}
      onClick=${() => onPick(name)}
    >
      ${text}
    </button>`,
  )}
</div>`;

function Estimate() {
  const found = estimate.value;
  const quote = quoteName();
  if (!found) return html`<p class="estimate quiet">Total <b>—</b></p>`;
  return html`<div class="estimate">
    <p>${type.value === "market" ? "About" : "Total"} <b>${found.total ?? "—"} ${found.total ? quote : ""}</b></p>
    ${found.average ? html`<p class="quiet">average ${found.average}, to ${found.worst}</p>` : null}
    ${found.missing ? html`<p class="caution">${found.missing} more than the book holds: that part expires</p>` : null}
    ${found.crosses && postOnly.value && mayRest.value
      ? html`<p class="caution">Would trade at once: post-only rejects it</p>`
      : found.crosses
        ? html`<p class="quiet">Trades at once, as far as the book allows</p>`
        : null}
  </div>`;
}

const baseName = () => market.value?.symbol.split("-")[0] ?? "";
const quoteName = () => market.value?.symbol.split("-")[1] ?? "";

const More = () => html`<details class="more">
  <summary>More</summary>
  ${mayRest.value ? html`<${Field} name="display" label="Show at a time (iceberg)" unit=${baseName()} />` : null}
  <label class="line">
    <span>If it meets my own order</span>
    <select value=${selfTrade.value} onChange=${(event) => (selfTrade.value = event.target.value)}>
      ${SELF_TRADES.map(([name, text]) => html`<option key=${name} value=${name}>${text}</option>`)}
    </select>
  </label>
</details>`;

const Expiry = () => html`<div class="field ${mistakes.value.expire ? "wrong" : ""}">
  <label for="expire">Good till</label>
  <div class="input">
    <input id="expire" type="datetime-local" value=${fields.value.expire} onInput=${(event) => write("expire", event.target.value)} />
  </div>
  ${mistakes.value.expire ? html`<p class="error" role="alert">${mistakes.value.expire}</p>` : null}
</div>`;

const Rules = () => html`<div class="rules">
  <${Choice} kind="small" label="Time in force" value=${tif.value} options=${TIFS} onPick=${(name) => (tif.value = name)} />
  <label class="check ${mayRest.value ? "" : "off"}" title="Never trades at once: it is rejected if it would">
    <input type="checkbox" checked=${postOnly.value} disabled=${!mayRest.value} onChange=${(event) => (postOnly.value = event.target.checked)} />
    Post-only
  </label>
</div>`;

function onSubmit(event) {
  event.preventDefault();
  send();
}

export const Entry = () => html`<section class="panel entry" data-panel="trade" aria-label="Order entry">
  <form onSubmit=${onSubmit} class=${side.value} noValidate>
    <${Choice}
      kind="sides"
      label="Side"
      value=${side.value}
      options=${[["buy", "Buy"], ["sell", "Sell"]]}
      onPick=${(name) => (side.value = name)}
    />
    <${Choice} kind="types" label="Order type" value=${type.value} options=${TYPES} onPick=${(name) => (type.value = name)} />
    ${isStop.value ? html`<${Field} name="stop_price" label="Stop price" unit=${quoteName()} />` : null}
    ${isPriced.value ? html`<${Field} name="price" label="Price" unit=${quoteName()} />` : null}
    <${Field} name="quantity" label="Quantity" unit=${baseName()} />
    ${isPriced.value ? html`<${Rules} />` : null}
    ${isPriced.value && tif.value === "gtd" ? html`<${Expiry} />` : null}
    <${More} />
    <${Estimate} />
    ${mistakes.value.form ? html`<p class="error" role="alert">${mistakes.value.form}</p>` : null}
    <button class="send ${side.value}" disabled=${Boolean(hindrance.value)} title=${hindrance.value}>
      ${side.value === "buy" ? "Buy" : "Sell"} ${baseName()}
      ${sending.value ? html`<span class="spinner" aria-label="waiting for the peers"></span>` : null}
    </button>
    <button type="button" class="hidden" onClick=${clear}>Clear the form</button>
  </form>
</section>`;
