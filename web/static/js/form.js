// The order in the form: its state, what the book says about it, and sending.
// form_rules.js has the rules, preview.js the estimate. The peer checks everything again; its refusal is
// shown beside the field.
import { batch, computed, effect, signal } from "@preact/signals";
import { condition, isReadOnly } from "./condition.js";
import { confirmed, isAsking } from "./confirm.js";
import { averageOf, divided, fromUnits, toBig, trimmed } from "./decimal.js";
import { after, errorsOf, isPriced, isShown, isStop, mayRest, missing, mistakes, orderOf, START } from "./form_rules.js";
import * as as from "./format.js";
import { STATES } from "./lifecycle.js";
import { awayOf, bandOf, percentOf, previewOf, slippageOf } from "./preview.js";
import { confirmAway, confirmSlippage, confirmValue, zone } from "./settings.js";
import { book, bookVersion, draft, isFollower, market, marketName, mayTrade, placeOrder, places, trades } from "./store.js";
import { toast } from "./toasts.js";

const LEVELS_MAX = 1000;

export const form = signal(START);
export const sending = signal(0);
export const oneClick = signal(false); // a click on a price in the book sends an order

export const change = (event) => (form.value = after(form.peek(), event));
export const write = (field, to) => change({ set: field, to });
export const side = computed(() => form.value.side);

export function clear() {
  oneClick.value = false;
  change({ clear: true });
}

effect(() => change({ market: marketName.value }));

// Takes over a click in the book.
effect(() => {
  const { at, ...part } = draft.value;
  if (Object.keys(part).length) change({ take: part });
});

const isUtc = () => zone.value === "utc";
const wrong = computed(() => (market.value ? mistakes(form.value, market.value, Date.now(), isUtc()) : {}));
export const errors = computed(() => errorsOf(form.value, wrong.value)); // field -> text

// Why the order can't be sent now; empty if it can.
export const hindrance = computed(() => {
  if (condition.value.blocked) return condition.value.blocked;
  if (isReadOnly.value && isFollower.value) return "This peer follows the mesh: it takes orders signed by a key of your own only";
  if (!mayTrade.value) return "This page is read-only: it has no key or session for this account";
  if (Object.keys(wrong.value).length) return "Correct the fields above";
  return missing(form.value).length ? "Fill in the fields" : "";
});

const unitsOf = (name) => {
  const text = market.value && order()?.[name];
  return text ? toBig(text, name === "quantity" ? places.value.quantity : places.value.price) : null;
};
const order = () => orderOf(form.value, market.value, Date.now(), isUtc());
const lastPrice = () => (trades.value[0] ? toBig(trades.value[0].price, places.value.price) : null);

// The band within which the market trades now, as units; null if it has none.
export const band = computed(() => bandOf(lastPrice(), market.value?.price_band_percent));

// What the order would do now; null while it is not complete.
export const preview = computed(() => {
  bookVersion.value;
  const amount = unitsOf("quantity");
  if (!amount) return null;
  const state = form.value;
  const limit = unitsOf("price");
  if (isStop(state)) return { value: amount * (limit ?? unitsOf("stop_price")), waits: true };
  const levels = (state.side === "buy" ? book.asks : book.bids).best(LEVELS_MAX).map(({ units, size }) => [units, size]);
  const edge = band.value && (state.side === "buy" ? band.value.high : band.value.low);
  const found = previewOf({
    side: state.side,
    levels,
    amount,
    limit: limit ?? edge,
    mayRest: mayRest(state),
    isWhole: state.tif === "fok" && isPriced(state),
    isPostOnly: isShown(state, "post_only") && state.post_only,
  });
  return { ...found, slippage: slippageOf(found, state.side), value: found.cost + found.rests * (limit ?? 0n) };
});

const money = (value) => as.amount(fromUnits(value, places.value.price + places.value.quantity));
const lots = (units) => as.quantity(fromUnits(units, places.value.quantity));
const priceText = (units) => as.price(fromUnits(units, places.value.price));

// The preview as texts; null while there is none.
export const estimate = computed(() => {
  const found = preview.value;
  if (!found) return null;
  const total = found.value ? money(found.value) : null;
  if (found.waits) return { total, waits: true };
  const average = found.filled ? trimmed(fromUnits(divided(found.cost * 100n, found.filled), places.value.price + 2), places.value.price) : null;
  return {
    total,
    crosses: found.crosses,
    filled: found.filled ? lots(found.filled) : null,
    average: average && as.price(average),
    worst: found.filled ? priceText(found.worst) : null,
    slippage: found.filled ? percentOf(found.slippage) : null,
    rests: found.rests ? lots(found.rests) : null,
    expires: found.expires ? lots(found.expires) : null,
    isOutside: isOutside(),
  };
});

// Whether the band refuses the price now.
function isOutside() {
  const price = unitsOf("price");
  return Boolean(price && band.value && (price < band.value.low || price > band.value.high));
}

// Why a person should look again before this order is sent.
function warnings() {
  const found = preview.value;
  const told = [];
  const worth = Number(fromUnits(found.value, 0)) / 10 ** (places.value.price + places.value.quantity);
  if (confirmValue.value && worth > confirmValue.value) {
    told.push(`Its value is ${money(found.value)} ${quoteOf(marketName.value)}, above ${as.amount(String(confirmValue.value))}.`);
  }
  if (confirmSlippage.value && !found.waits && Number(found.slippage) / 100 > confirmSlippage.value) {
    told.push(`Its average price is ${percentOf(found.slippage)} worse than the best price.`);
  }
  const best = (side.value === "buy" ? book.asks : book.bids).best(1)[0]?.units ?? lastPrice();
  const price = found.waits ? null : unitsOf("price");
  const away = price && best ? awayOf(side.value, price, best) : 0n;
  if (confirmAway.value && Number(away) / 100 > confirmAway.value) {
    told.push(`Its price is ${percentOf(away)} worse than the best price, ${priceText(best)}.`);
  }
  return told;
}

const quoteOf = (symbol) => symbol.split("-")[1] ?? "";
const padded = (price) => priceText(toBig(price, places.value.price));
const nameOf = ({ side: of, quantity, price, stop_price: stop }) =>
  `${of === "buy" ? "Buy" : "Sell"} ${as.quantity(quantity)}${stop ? ` once at ${padded(stop)}` : ""}${price ? ` at ${padded(price)}` : ""}`;

// The best price of a side of the book, as text; null without one.
export const bestPrice = (kind) => {
  bookVersion.value;
  const best = (kind === "bid" ? book.bids : book.asks).best(1)[0];
  return best && condition.value.fresh ? fromUnits(best.units, places.value.price) : null;
};

export function takeBest(kind) {
  const price = bestPrice(kind);
  if (price) change({ take: { price } });
}

// Sends an order after a click on a price, while one-click trading is on.
export function sendAt(price, wanted) {
  batch(() => {
    change({ set: "type", to: "limit" });
    change({ take: { price, side: wanted } });
  });
  if (!form.value.quantity) toast("warn", "Not sent.", "One click sends the quantity in the form: fill it in first.");
  else if (hindrance.value) toast("warn", "Not sent.", `${hindrance.value}.`);
  else send({ again: true });
}

// With `again` the form keeps the quantity for the next order.
export async function send({ again = false } = {}) {
  if (hindrance.value || isAsking()) return;
  const sent = order();
  const of = form.value;
  const told = warnings();
  if (told.length && !(await confirmed(`${nameOf(sent)} ${quoteOf(of.market)}`, told))) return;
  sending.value++;
  const slow = setTimeout(() => toast("note", "Pending", `${nameOf(sent)}: waiting to be ordered by the peers.`), 1500);
  const reply = await placeOrder(sent, of.market);
  clearTimeout(slow);
  sending.value--;
  report(reply, sent, of, again);
}

function report(reply, sent, of, again) {
  const { field, detail } = reply.error ?? {};
  const result = reply.result ?? {};
  if (!reply.ok || result.status === "rejected") {
    const text = detail ?? result.detail;
    const before = form.value;
    change({ refused: { field, reason: result.reason ?? reply.error?.reason, text }, of });
    if (form.value === before) toast("bad", "Not taken.", `${nameOf(sent)}: ${text}`);
    return;
  }
  change({ sent: true, of, keep: again });
  const isEmpty = result.status === "expired" && !result.fills?.length;
  toast(isEmpty ? "warn" : "good", STATES[result.status][1], tell(sent, result));
}

// What became of an order that was just sent: the average price of its trades, not its limit.
function tell(sent, { status, fills = [], remaining }) {
  if (!fills.length) return `${nameOf(sent)}.`;
  const done = sent.side === "buy" ? "Bought" : "Sold";
  const size = trimmed(fromUnits(fills.reduce((sum, fill) => sum + toBig(fill.quantity, places.value.quantity), 0n), places.value.quantity));
  const rest = Number(remaining) ? ` ${as.quantity(remaining)} ${status === "expired" ? "expired" : "rests"}.` : "";
  const several = new Set(fills.map((fill) => fill.price)).size > 1 ? " on average" : "";
  return `${done} ${as.quantity(size)} at ${as.price(averageOf(fills))}${several}.${rest}`;
}

