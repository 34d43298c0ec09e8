// Prices, quantities, amounts and times as a person reads them: one form each, in all panels.
// Owns these forms. Must never be used for what is sent.
import { divided, fromUnits, grouped, placesOf, toBig, trimmed } from "./decimal.js";
import { zone } from "./settings.js";
import { dateAndClock, dayAndClock, partsOf } from "./times.js";

const isUtc = () => zone.value === "utc";

export const price = (text) => grouped(text); // all places of the tick: columns align at the point
export const shortPrice = (text) => grouped(trimmed(text, 2));
export const quantity = (text, least = 0) => grouped(trimmed(text, least)); // exact
// Of money: rounded to two places, unless nothing would be left.
export function amount(text) {
  const at = placesOf(text);
  if (at <= 2) return grouped(trimmed(text, 2));
  const cents = divided(toBig(text, at), 10n ** BigInt(at - 2));
  return grouped(cents ? fromUnits(cents, 2) : trimmed(text, 2));
}
export const signed = (text, form = amount) => (text.startsWith("-") ? `−${form(text.slice(1))}` : `${Number(text) ? "+" : ""}${form(text)}`);

// The time is 0 for an order that was open before the gateway began to watch.
export const clock = (ms) => (ms ? partsOf(ms, isUtc()).clock : "—");
export const day = (ms) => (ms ? dayAndClock(ms, Date.now(), isUtc()) : "—");
export const moment = (ms) => (ms ? `${dateAndClock(ms, isUtc())}${isUtc() ? " UTC" : ""}` : "—");
