// Amounts as people type and paste them. Owns the reading of a text with grouping or a decimal comma.
// Must never guess between two readings: a comma that could be either groups thousands, as the page
// itself prints them. Pure.

const SPACES = /[\s\u00a0\u2007\u2009\u202f'’_]/g;

// The plain decimal text of an amount, such as "67000.50" for "67,000.50", "67 000,50" or "67000.5";
// null if the text is none. Not negative.
export function amountOf(text) {
  const typed = String(text).replace(SPACES, "").replace(/^\+/, "");
  if (!/^[\d.,]*\d[\d.,]*$/.test(typed)) return null;
  const [points, commas] = [countOf(typed, "."), countOf(typed, ",")];
  const decimal = decimalMark(typed, points, commas);
  const [whole, fraction = "", ...more] = decimal ? typed.split(decimal) : [typed];
  if (more.length || /[.,]/.test(fraction)) return null;
  const plain = ungrouped(whole);
  if (plain === null) return null;
  const digits = plain.replace(/^0+(?=\d)/, "") || "0";
  return fraction ? `${digits}.${fraction}` : digits;
}

const countOf = (text, sign) => text.split(sign).length - 1;

// Which sign is the decimal one; empty if none is.
function decimalMark(typed, points, commas) {
  if (points && commas) return typed.lastIndexOf(".") > typed.lastIndexOf(",") ? "." : ",";
  if (points) return points === 1 ? "." : "";
  return commas === 1 && !/^[1-9]\d{0,2},\d{3}$/.test(typed) ? "," : "";
}

// Without the signs between groups of three; null if they stand elsewhere.
function ungrouped(whole) {
  if (/^\d*$/.test(whole)) return whole;
  return /^\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*$/.test(whole) ? whole.replace(/[.,]/g, "") : null;
}
