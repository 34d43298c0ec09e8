// The browser's own key.
// Owns the key pair of this browser and the signatures by it. The private key is made here and not
// extractable: no script can read it, not even this one. Must never know where a command is sent.
import { signal } from "@preact/signals";
import { placesOf, toUnits } from "./decimal.js";

const COMMAND_DOMAIN = "p2p-orderbook command v1";
const STATEMENT_DOMAIN = "p2p-orderbook session v1";
const VALID_MS = 3_600_000;
const STATEMENT_MS = 150_000; // the clocks of browser and peer may differ by this much
const LAST_NONCE = "orderbook.nonce"; // all tabs share it, as they share the key
const SIDES = ["buy", "sell"];
const TYPES = ["limit", "market", "stop", "stop_limit"];
const TIFS = ["gtc", "ioc", "fok", "gtd"];
const SELF_TRADES = ["none", "cancel_resting", "cancel_incoming", "cancel_both", "decrement"];

let pair = null;
export const ownAccount = signal(""); // the account of the key, once the key is loaded

// Why this browser can't have a key; empty if it can.
export async function whyNoKey() {
  if (!isSecureContext) return "Browsers sign only on pages that come over HTTPS or from this machine.";
  try {
    await generate();
    return "";
  } catch {
    return "This browser has no Ed25519: Chrome and Edge have it since version 137, Firefox since 129, Safari since 17.";
  }
}

const generate = () => crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

// Loads the key of this browser, or makes one; returns its account.
export async function openKey() {
  if (pair) return ownAccount.value;
  const opening = indexedDB.open("orderbook", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
  const db = await settled(opening);
  const stored = await settled(db.transaction("keys").objectStore("keys").get("own"));
  pair = stored ?? (await makeKey(db));
  db.close();
  const raw = await crypto.subtle.exportKey("raw", pair.publicKey);
  ownAccount.value = `ed25519:${base64url(raw)}`;
  return ownAccount.value;
}

async function makeKey(db) {
  const made = await generate();
  navigator.storage?.persist?.(); // else a browser short of space may delete it
  const keys = db.transaction("keys", "readwrite").objectStore("keys");
  const before = await settled(keys.get("own")); // another tab was faster
  if (!before) await settled(keys.put(made, "own"));
  return before ?? made;
}

function base64url(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Signs `items`, passes the signature to `send` and returns its result. Only one at a time, in all tabs:
// nonces must arrive in order.
async function signed(domain, mesh, validMs, items, send) {
  const sent = await navigator.locks.request("orderbook.key", async () => {
    const nonce = Math.max(Date.now(), Number(localStorage.getItem(LAST_NONCE) ?? 0) + 1);
    localStorage.setItem(LAST_NONCE, nonce);
    const until = nonce + validMs;
    const text = JSON.stringify([domain, mesh, nonce, until, ...items]);
    const made = await crypto.subtle.sign("Ed25519", pair.privateKey, new TextEncoder().encode(text));
    return { result: send({ nonce, until, signature: base64url(made) }) };
  });
  return sent.result;
}

export const signCommand = (mesh, command, send) => signed(COMMAND_DOMAIN, mesh, VALID_MS, command, send);

export const signStatement = (mesh, peer, send) =>
  signed(STATEMENT_DOMAIN, mesh, STATEMENT_MS, [peer, ownAccount.value], send);

// Commands as they are signed: their kind, then the fields of engine/vocabulary.py without the id. An
// invalid amount becomes null, and the peer reports the error.

function steps(text, step) {
  if (text === undefined) return 0;
  const units = toUnits(text, placesOf(step));
  return units === null ? null : units / Number(step.replace(".", ""));
}

const numberOf = (id) => {
  const [member, count] = id.split("-").map(Number);
  return count * 256 + member - 1;
};

export const submitOf = (order, market) => [
  "Submit",
  order.account,
  market.symbol,
  SIDES.indexOf(order.side),
  steps(order.quantity, market.lot),
  steps(order.price, market.tick),
  TYPES.indexOf(order.type),
  TIFS.indexOf(order.tif ?? "gtc"),
  order.post_only ?? false,
  steps(order.stop_price, market.tick),
  steps(order.display, market.lot),
  SELF_TRADES.indexOf(order.self_trade ?? "none"),
  order.expire ?? 0,
  "",
];

export const changeOf = (account, id, { price, quantity }, market) =>
  price === undefined
    ? ["Reduce", account, numberOf(id), steps(quantity, market.lot)]
    : ["Replace", account, numberOf(id), steps(price, market.tick), steps(quantity, market.lot)];

export const cancelOf = (account, id) => ["Cancel", account, numberOf(id)];

export const cancelAllOf = (account, market, side) => ["CancelAll", account, market, side ? SIDES.indexOf(side) : null];
