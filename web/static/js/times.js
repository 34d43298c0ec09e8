// Times as text, in UTC or in the zone of this machine. Owns the forms: digits only, the same in every
// language. Pure.

const two = (number) => String(number).padStart(2, "0");

// A time in milliseconds since 1970 as its parts.
export function partsOf(ms, isUtc) {
  const at = new Date(ms);
  const part = (name) => at[`get${isUtc ? "UTC" : ""}${name}`]();
  return {
    date: `${part("FullYear")}-${two(part("Month") + 1)}-${two(part("Date"))}`,
    clock: `${two(part("Hours"))}:${two(part("Minutes"))}:${two(part("Seconds"))}`,
  };
}

// 2026-11-27 08:20:40
export function dateAndClock(ms, isUtc) {
  const { date, clock } = partsOf(ms, isUtc);
  return `${date} ${clock}`;
}

// The clock alone for a time of today; with the day, 11-26 08:20:40; in another year 2025-11-26 08:20.
export function dayAndClock(ms, nowMs, isUtc) {
  const { date, clock } = partsOf(ms, isUtc);
  const today = partsOf(nowMs, isUtc).date;
  if (date === today) return clock;
  return date.slice(0, 4) === today.slice(0, 4) ? `${date.slice(5)} ${clock}` : `${date} ${clock.slice(0, 5)}`;
}

// A tick of a chart's axis that is `seconds` wide: a clock, a day, or a month.
export function axisLabel(ms, kind, isUtc) {
  const { date, clock } = partsOf(ms, isUtc);
  if (kind === "year") return date.slice(0, 4);
  if (kind === "month") return date.slice(0, 7);
  if (kind === "day") return date.slice(5);
  return kind === "second" ? clock : clock.slice(0, 5);
}

// The time in a field for date and time, such as 2026-11-27T08:20. NaN if the text is none.
export const msOf = (field, isUtc) => new Date(isUtc ? `${field}Z` : field).getTime();
