// Exact decimals: converts the gateway's decimal text to whole numbers and back. Amounts are integers
// (ticks and lots stay below 2**53), products are BigInt. Must never compute with fractions.

export const placesOf = (step) => {
  const point = step.indexOf(".");
  return point < 0 ? 0 : step.length - point - 1;
};

// "100.5" with 2 places is 10050. Null if the text is not a plain number with at most `places` places.
export function toUnits(text, places) {
  const match = /^(\d*)(?:\.(\d*))?$/.exec(String(text).trim());
  if (!match || (!match[1] && !match[2])) return null;
  const fraction = (match[2] || "").replace(/0+$/, "");
  if (fraction.length > places || match[1].length > 16) return null;
  const units = Number((match[1] || "0") + fraction.padEnd(places, "0"));
  return Number.isSafeInteger(units) ? units : null;
}

export function fromUnits(units, places) {
  const digits = String(units).padStart(places + 1, "0");
  return places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits;
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

// The exact product of two amounts as text.
export function product(a, aPlaces, b, bPlaces) {
  return trimmed(fromUnits(BigInt(a) * BigInt(b), aPlaces + bPlaces), 2);
}

// A quantity in at most `most` characters: exact if it fits, else rounded down. In a column, `least`
// places align the decimal points.
export function short(text, least = 0, most = 9) {
  const plain = trimmed(text, least);
  if (plain.length <= most) return plain;
  const [whole, fraction = ""] = plain.split(".");
  return trimmed(`${whole}.${fraction.slice(0, Math.max(0, most - whole.length - 1))}`);
}
