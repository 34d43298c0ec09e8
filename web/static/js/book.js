// One market's book: a snapshot and the deltas after it.
// Owns the levels, their order and two checks (sequence, checksum). Never guesses: when a check fails it
// returns false, and the caller asks for a snapshot.
import { crc32 } from "./crc32.js";
import { toSize, toUnits } from "./decimal.js";

const CHECKSUM_LEVELS = 10;

// One side, best first. `sign` is 1 for asks (lowest first) and -1 for bids.
class Side {
  constructor(sign, places) {
    this.sign = sign;
    this.places = places;
    this.clear();
  }

  clear() {
    this.keys = []; // sign * price in units, ascending
    this.levels = new Map(); // key -> { key, price, quantity, units, size, orders }
  }

  set([price, quantity, orders]) {
    const units = toUnits(price, this.places.price);
    const size = toSize(quantity, this.places.quantity);
    const key = this.sign * units;
    if (size === 0) {
      if (this.levels.delete(key)) this.keys.splice(this.find(key), 1);
      return;
    }
    if (!this.levels.has(key)) this.keys.splice(this.find(key), 0, key);
    this.levels.set(key, { key, price, quantity, units, size, orders });
  }

  find(key) {
    let low = 0;
    let high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.keys[middle] < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // All levels from the best one to a price, that one included.
  upTo(units) {
    return this.keys.slice(0, this.find(this.sign * units + 1)).map((key) => this.levels.get(key));
  }

  best(count) {
    return this.keys.slice(0, count).map((key) => this.levels.get(key));
  }

  // Levels merged into steps of `group` price units. Bids are rounded down and asks up, so that no step
  // shows a better price than its levels have.
  grouped(count, group) {
    const merged = [];
    for (const key of this.keys) {
      const { units, size, orders } = this.levels.get(key);
      const price = this.sign * Math.ceil(key / group) * group;
      const last = merged[merged.length - 1];
      if (last && last.units === price) {
        last.size += size;
        last.orders += orders;
        last.prices.push(units);
      } else {
        if (merged.length === count) break;
        merged.push({ units: price, size, orders, prices: [units] });
      }
    }
    return merged;
  }
}

export class Book {
  constructor(market, places) {
    this.market = market;
    this.places = places;
    this.bids = new Side(-1, places);
    this.asks = new Side(1, places);
    this.seq = -1;
    this.ready = false;
  }

  reset(message) {
    this.bids.clear();
    this.asks.clear();
    this.fill(message);
    this.ready = true;
    return this.isSound(message);
  }

  // False: a message was lost or the checksum differs. Then the book shown before may be wrong too.
  apply(message) {
    if (!this.ready || message.seq <= this.seq) return true;
    if (message.seq !== this.seq + 1) return false;
    this.fill(message);
    return this.isSound(message);
  }

  fill(message) {
    for (const level of message.bids) this.bids.set(level);
    for (const level of message.asks) this.asks.set(level);
    this.seq = message.seq;
  }

  isSound(message) {
    return message.checksum === undefined || message.checksum === this.checksum();
  }

  checksum() {
    const levels = [...this.asks.best(CHECKSUM_LEVELS), ...this.bids.best(CHECKSUM_LEVELS)];
    return crc32(levels.map((level) => plain(level.price) + plain(level.quantity)).join(""));
  }
}

// Each peer's share of the levels of one market: { member, size, orders } by price.
// Follows the book's sequence. The shares are part of the levels, so never add them up with levels.
export class Shares {
  constructor(market, places) {
    this.market = market;
    this.places = places;
    this.seq = -1;
    this.bids = new Map();
    this.asks = new Map();
  }

  // False: a message was lost.
  take(message) {
    const fresh = message.type === "snapshot";
    if (fresh) [this.bids, this.asks] = [new Map(), new Map()];
    else if (this.seq < 0 || message.seq <= this.seq) return true;
    else if (message.seq !== this.seq + 1) {
      this.seq = -1; // until the next snapshot
      return false;
    }
    for (const [price, shares] of message.bids) this.set(this.bids, price, shares);
    for (const [price, shares] of message.asks) this.set(this.asks, price, shares);
    this.seq = message.seq;
    return true;
  }

  set(side, price, shares) {
    const units = toUnits(price, this.places.price);
    const size = (text) => toSize(text, this.places.quantity);
    if (shares.length) side.set(units, shares.map(([member, quantity, orders]) => ({ member, size: size(quantity), orders })));
    else side.delete(units);
  }

  // The shares of several levels of one side together, in the order of the members.
  of(side, prices) {
    const merged = new Map();
    for (const share of prices.flatMap((units) => side.get(units) ?? [])) {
      const known = merged.get(share.member) ?? { member: share.member, size: 0, orders: 0 };
      merged.set(share.member, { ...known, size: known.size + share.size, orders: known.orders + share.orders });
    }
    return [...merged.values()].sort((a, b) => a.member - b.member);
  }
}

const plain = (text) => text.replace(".", "").replace(/^0+/, "");
