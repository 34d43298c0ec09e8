// The order form as a table of states.
// Owns which fields each order type shows, which of them it needs, what is sent, what is wrong with a field,
// and which changes take a refusal away. Pure: no page, no clock but the one that is passed in.
//
// Three rules hold in every state. What is hidden is never sent and holds no error. A change takes away
// every refusal that it could have caused. A refusal never keeps the order from being sent again.
import { fromUnits, placesOf, toBig, trimmed } from "./decimal.js";
import { msOf } from "./times.js";
import { amountOf } from "./typed.js";

export const TYPES = ["limit", "market", "stop_limit", "stop"];
export const TIFS = ["gtc", "ioc", "fok", "gtd"];
export const AMOUNTS = ["price", "stop_price", "quantity", "display"]; // cleared with the market

const RESTING = { needed: ["price", "quantity"], optional: ["tif", "display", "self_trade"] };
const AT_ONCE = { needed: ["price", "quantity"], optional: ["tif", "self_trade"] };
const adding = (rules, needed, optional = []) => ({
  needed: [...needed, ...rules.needed],
  optional: [...rules.optional, ...optional],
});

// Type and time in force -> the fields to be filled in, and those that may be.
export const TABLE = {
  "limit/gtc": adding(RESTING, [], ["post_only"]),
  "limit/gtd": adding(RESTING, ["expire"], ["post_only"]),
  "limit/ioc": AT_ONCE,
  "limit/fok": AT_ONCE,
  "stop_limit/gtc": adding(RESTING, ["stop_price"]),
  "stop_limit/gtd": adding(RESTING, ["stop_price", "expire"]),
  "stop_limit/ioc": adding(AT_ONCE, ["stop_price"]),
  "stop_limit/fok": adding(AT_ONCE, ["stop_price"]),
  market: { needed: ["quantity"], optional: ["self_trade"] },
  stop: { needed: ["stop_price", "quantity"], optional: ["self_trade"] },
};

export const NAMES = {
  price: "The price",
  stop_price: "The stop price",
  quantity: "The quantity",
  display: "The shown quantity",
  expire: "The expiry",
};

// Reason of a refusal -> the field beside which it is shown, and the other fields that could have caused it.
const SHAPE = ["type", "tif"];
const REFUSALS = {
  invalid_price: ["price"],
  outside_price_band: ["price", "stop_price", "side", "type"],
  would_cross: ["post_only", "price", "side", ...SHAPE],
  invalid_stop_price: ["stop_price", "type"],
  invalid_quantity: ["quantity"],
  quantity_too_small: ["quantity"],
  quantity_too_large: ["quantity"],
  invalid_display: ["display", "quantity", ...SHAPE],
  invalid_expiry: ["expire", ...SHAPE],
};

export const START = Object.freeze({
  market: "",
  side: "buy",
  type: "limit",
  tif: "gtc",
  post_only: false,
  self_trade: "none",
  price: "",
  stop_price: "",
  quantity: "",
  display: "",
  expire: "",
  refusals: [], // { at, text, causes }: causes are fields, null for any
});

const rulesOf = ({ type, tif }) => TABLE[type] ?? TABLE[`${type}/${tif}`];
export const neededBy = (state) => rulesOf(state).needed;
export const isShown = (state, field) => neededBy(state).includes(field) || rulesOf(state).optional.includes(field);
export const isPriced = (state) => isShown(state, "price");
export const isStop = (state) => isShown(state, "stop_price");
export const mayRest = (state) => isShown(state, "display");

// The state after an event. The events are:
//   { set: field, to: value }          a person changes a field
//   { take: { price, quantity, side } }  a click in the book or the chart; each is optional
//   { market: name }                   another market is shown
//   { clear: true }                    Esc
//   { sent: true, of: state, keep }   the order in state `of` was taken; `keep` keeps its quantity
//   { refused: { field, reason, text }, of: state }  an order was refused that the form held in state `of`
export function after(state, event) {
  if ("set" in event) return settled({ ...state, [event.set]: event.to }, [event.set]);
  if ("take" in event) return taken(state, event.take);
  if ("market" in event) return inMarket(state, event.market);
  if ("clear" in event) return { ...cleared(state), expire: "" };
  if ("sent" in event) return sent(state, event.of, event.keep);
  return refused(state, event.refused, event.of);
}

// No price of one market in another. The first market is the one for which the form was filled in.
function inMarket(state, market) {
  if (market === state.market) return state;
  return state.market ? cleared({ ...state, market }) : { ...state, market };
}

const cleared = (state) => ({ ...state, ...Object.fromEntries(AMOUNTS.map((name) => [name, ""])), refusals: [] });

// Without the refusals that the changed fields could have caused, and those of fields that are hidden now.
function settled(state, changed) {
  const stays = ({ at, causes }) => causes !== null && !causes.some((field) => changed.includes(field)) && (at === "form" || isShown(state, at));
  return changed.length ? { ...state, refusals: state.refusals.filter(stays) } : state;
}

// The quantity goes, unless a person has typed another one meanwhile.
function sent(state, of, keep) {
  const next = { ...state, refusals: [] };
  if (keep || state.quantity !== of.quantity || state.market !== of.market) return next;
  return { ...next, quantity: "", display: "" };
}

function taken(state, { price, quantity, side }) {
  const type = isPriced(state) ? state.type : state.type === "stop" ? "stop_limit" : "limit";
  const next = { ...state, side: side ?? state.side };
  if (price !== undefined) Object.assign(next, { type, price });
  if (quantity !== undefined) Object.assign(next, { quantity, display: "" });
  return settled(next, Object.keys(next).filter((name) => next[name] !== state[name]));
}

// A refusal belongs to the order as it was sent: it is not shown in a form that has changed meanwhile.
function refused(state, { field, reason, text }, of) {
  const causes = REFUSALS[reason] ?? (field && field in NAMES ? [field] : null);
  const relevant = causes ?? Object.keys(START).filter((name) => name !== "refusals");
  if (relevant.some((name) => state[name] !== of[name])) return state;
  const at = [field, ...relevant].find((name) => name in NAMES && isShown(state, name) && (causes || name === field)) ?? "form";
  return { ...state, refusals: [...state.refusals.filter((one) => one.at !== at), { at, text, causes }] };
}

// What is wrong in the fields that are shown and filled in: field -> a sentence in the field's words.
export function mistakes(state, market, now, isUtc = false) {
  const found = {};
  for (const name of AMOUNTS) {
    if (!isShown(state, name) || !state[name].trim()) continue;
    const error = amountError(name, state[name], market);
    if (error) found[name] = error;
  }
  if (isShown(state, "display") && state.display.trim() && !found.display && !found.quantity) {
    const error = displayError(state, market);
    if (error) found.display = error;
  }
  if (isShown(state, "expire") && state.expire && !(msOf(state.expire, isUtc) > now)) {
    found.expire = `${NAMES.expire} must be a time to come`;
  }
  return found;
}

function amountError(name, typed, market) {
  const isPrice = name.endsWith("price");
  const [step, most] = isPrice ? [market.tick, market.price_max] : [market.lot, market.quantity_max];
  const text = amountOf(typed);
  const label = NAMES[name];
  if (text === null) return `${label} must be a number such as ${isPrice ? "100.5" : "0.25"}`;
  const places = placesOf(step);
  const units = toBig(text, places);
  const stepUnits = toBig(step, places);
  if (units === null || units % stepUnits) return stepError(label, text, step);
  if (units <= 0n) return `${label} must be above zero`;
  if (units > toBig(most, places)) return `${label} must be at most ${trimmed(most)}`;
  if (name !== "quantity" || units >= toBig(market.quantity_min, places)) return null;
  return `${label} must be at least ${trimmed(market.quantity_min)}`;
}

// Names the nearest amount below, if there is one.
function stepError(label, text, step) {
  const places = placesOf(step);
  const [whole, fraction = ""] = text.split(".");
  const units = toBig(`${whole}.${fraction.slice(0, places)}`, places);
  const below = units - (units % toBig(step, places));
  const such = below > 0n ? `, such as ${trimmed(fromUnits(below, places))}` : "";
  return `${label} goes in steps of ${trimmed(step)}${such}`;
}

function displayError(state, market) {
  const places = placesOf(market.lot);
  const [display, quantity] = [state.display, state.quantity].map((typed) => toBig(amountOf(typed) ?? "", places));
  return quantity && display > quantity ? `${NAMES.display} must be at most the quantity` : null;
}

export const missing = (state) => neededBy(state).filter((name) => !state[name].trim());

// The order to send, or null while a field is missing or wrong.
export function orderOf(state, market, now, isUtc = false) {
  if (missing(state).length || Object.keys(mistakes(state, market, now, isUtc)).length) return null;
  const order = { side: state.side, type: state.type };
  for (const name of AMOUNTS) {
    if (isShown(state, name) && state[name].trim()) order[name] = amountOf(state[name]);
  }
  if (isShown(state, "tif")) order.tif = state.tif;
  if (isShown(state, "post_only") && state.post_only) order.post_only = true;
  if (isShown(state, "expire")) order.expire = msOf(state.expire, isUtc);
  if (state.self_trade !== "none") order.self_trade = state.self_trade;
  return order;
}

// The refusals and mistakes by field. A mistake comes first: it is of what the field holds now.
export const errorsOf = (state, found) => ({
  ...Object.fromEntries(state.refusals.map(({ at, text }) => [at, text])),
  ...found,
});
