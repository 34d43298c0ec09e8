// Exact decimals: converts the gateway's decimal text to whole numbers and back. An amount of one order is
// below 2**53 steps and fits a Number; sums and products are BigInt. Must never compute with fractions.

export const placesOf = (step) => {
  const point = step.indexOf(".");
  return point < 0 ? 0 : step.length - point - 1;
};

// "100.5" with 2 places is 10050n. Null if the text is not a plain number with at most `places` places.
export function toBig(text, places) {
  const match = /^(\d*)(?:\.(\d*))?$/.exec(String(text).trim());
  if (!match || (!match[1] && !match[2])) return null;
  const fraction = (match[2] || "").replace(/0+$/, "");
  if (fraction.length > places || match[1].length > 30) return null;
  return BigInt((match[1] || "0") + fraction.padEnd(places, "0"));
}

// The same as a Number; null also if it does not fit.
export function toUnits(text, places) {
  const units = toBig(text, places);
  return units !== null && units <= Number.MAX_SAFE_INTEGER ? Number(units) : null;
}

// The same, rounded if it does not fit: for what many orders have together, and for lengths of bars.
export const toSize = (text, places) => Number(toBig(text, places) ?? 0n);

// 10050 or 10050n with 2 places is "100.50".
export function fromUnits(units, places) {
  const whole = BigInt(units);
  const digits = String(whole < 0n ? -whole : whole).padStart(places + 1, "0");
  const sign = whole < 0n ? "-" : "";
  return sign + (places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits);
}

// 1234567.50 -> 1,234,567.50
export function grouped(text) {
  const [whole, fraction] = String(text).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

// Without trailing zeros, but with at least `least` places.
export function trimmed(text, least = 0) {
  const [whole, fraction = ""] = String(text).split(".");
  const kept = fraction.replace(/0+$/, "").padEnd(least, "0");
  return kept ? `${whole}.${kept}` : whole;
}

// The exact product of two amounts.
export function times(a, b) {
  const [m, n] = [placesOf(a), placesOf(b)];
  return trimmed(fromUnits(toBig(a, m) * toBig(b, n), m + n), 2);
}

// A whole quotient, rounded half away from zero. `by` is positive.
export function divided(units, by) {
  const half = units < 0n ? -by / 2n : by / 2n;
  return (units + half) / by;
}

// The average price of trades that have `price` and `quantity` as text, with `more` places than the
// prices; null without trades.
export function averageOf(trades, more = 2) {
  if (!trades.length) return null;
  const at = placesOf(trades[0].price);
  const lots = placesOf(trades[0].quantity);
  let cost = 0n;
  let size = 0n;
  for (const { price, quantity } of trades) {
    cost += toBig(price, at) * toBig(quantity, lots);
    size += toBig(quantity, lots);
  }
  return averageInUnits(cost, size, at, more);
}

// The price at which `size` costs `cost`, both in units; `at` are the places of prices.
export const averageInUnits = (cost, size, at, more = 2) => trimmed(fromUnits(divided(cost * 10n ** BigInt(more), size), at + more), at);

// A quantity in at most `most` characters: exact if it fits, else rounded down. In a column, `least`
// places align the decimal points. What would vanish is shown as "<" the least that is seen.
export function short(text, least = 0, most = 9) {
  const plain = trimmed(text, least);
  if (plain.length <= most) return plain;
  const [whole, fraction = ""] = plain.split(".");
  const places = Math.max(0, most - whole.length - 1);
  const cut = trimmed(`${whole}.${fraction.slice(0, places)}`);
  return cut === "0" && places ? `<0.${"1".padStart(places, "0")}` : cut;
}
