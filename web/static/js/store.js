// The state of the page, as signals.
// Owns the state and how messages change it. Components read it and call the actions below; they keep no
// market data themselves.
import { batch, computed, signal } from "@preact/signals";
import { Book, Shares } from "./book.js";
import { placesOf, toUnits } from "./decimal.js";
import { Feed } from "./feed.js";
import { cancelAllOf, cancelOf, changeOf, openKey, ownAccount, signCommand, signStatement, submitOf } from "./keyring.js";
import { mergeOrders, newestFirst, newFills, NO_ORDERS } from "./lifecycle.js";
import { remembered } from "./remember.js";
import { toast } from "./toasts.js";

const TRADES_KEPT = 2000;
const STARTING = { state: "starting", peers: [], alarms: [], quorum: null };

const newGuest = () => `guest-${Math.random().toString(36).slice(2, 6)}`;

export const markets = signal([]);
export const marketName = remembered("market", "");
export const account = remembered("account", newGuest());
export const usesOwnKey = remembered("ownKey", false);
export const session = signal(null); // the account and scopes of this browser; null: unknown
export const group = remembered("group", 1); // ticks per row of the ladder
export const connection = signal("connecting"); // connecting, live, stale, offline
export const resyncing = signal(false);
export const resyncs = signal(0);
export const latency = signal(null);
export const mesh = signal(STARTING);
export const proposals = signal([]); // the open ones, the oldest first
export const endedProposals = signal([]); // the newest first
export const presence = signal([]); // the members' newest blocks
export const commit = signal({ commit: 0, digest: "", round: 0, time: 0 });
export const trades = signal([]); // newest first
export const ticker = signal(null); // of the current market
export const lastPrices = signal({}); // market -> the last price that this page has seen
export const orders = signal(NO_ORDERS); // of the account, in all markets
export const ordersHeard = signal(false); // the peer has listed the account's orders on this connection
export const bookVersion = signal(0); // counts the frames in which the book changed
export const draft = signal({}); // values for the form from a click in the book

const marketOf = (symbol) => markets.value.find((m) => m.symbol === symbol) || null;
export const placesIn = (symbol) => {
  const found = marketOf(symbol);
  return found ? { price: placesOf(found.tick), quantity: placesOf(found.lot) } : { price: 2, quantity: 8 };
};
export const market = computed(() => marketOf(marketName.value));
export const places = computed(() => placesIn(marketName.value));
// Places of quantities in a column: at most three, unless a quantity needs more.
export const columnPlaces = () => Math.min(3, places.value.quantity);
export const openOrders = computed(() => newestFirst(orders.value.open.values())); // in all markets
const may = (scope) => session.value?.scopes.includes(scope) ?? false;
export const isAdmin = computed(() => may("admin"));
const isOwn = computed(() => account.value === ownAccount.value);
export const isFollower = computed(() => mesh.value.role === "follower"); // it takes signed orders only
export const mayTrade = computed(() => isOwn.value || (!isFollower.value && (isAdmin.value || may("trade"))));
export const mayRead = computed(() => isOwn.value || isAdmin.value || may("trade") || may("read"));

export let book = new Book("", places.value);
export let shares = new Shares("", places.value);

export const feed = new Feed({
  onMessage: take,
  onLatency: (ms) => (latency.value = ms),
  onRefused: endSession,
  onState: (state) => {
    connection.value = state;
    if (state === "live" && session.value?.ended) loadSession().then(() => chooseAccount(account.value), () => {});
    if (state === "offline") book.ready = ordersHeard.value = false;
  },
});

const takers = {
  book: takeBook,
  peers: takeShares,
  trades: takeTrades,
  ticker: takeTicker,
  candles: takeCandles,
  orders: takeOrders,
  mesh: takeMesh,
  markets: takeMarkets,
  proposals: (message) =>
    later(() => {
      proposals.value = message.open;
      endedProposals.value = message.ended;
      presence.value = message.members;
    }),
  commit: (message) => later(() => (commit.value = message)),
};

function take(message) {
  takers[message.channel]?.(message);
}

// Changes are drawn in the next frame, but not again within DRAW_MS: a busy book is drawn twenty times a
// second, which leaves the other frames to pointer and keyboard.
const DRAW_MS = 50;
const HIDDEN_MS = 250; // a hidden page draws no frames
const steps = [];
let drawn = -DRAW_MS;
function later(step) {
  if (steps.push(step) > 1) return;
  const run = () => {
    if (!steps.length) return;
    clearTimeout(fallback);
    drawn = performance.now();
    batch(() => steps.splice(0).forEach((each) => each()));
  };
  const wait = drawn + DRAW_MS - performance.now();
  if (wait > 0) setTimeout(() => requestAnimationFrame(run), wait);
  else requestAnimationFrame(run);
  const fallback = setTimeout(run, HIDDEN_MS);
}

let bookDue = false;
function takeBook(message) {
  if (message.market !== marketName.value) return;
  const sound = message.type === "snapshot" ? book.reset(message) : book.apply(message);
  if (!sound) {
    resync(message.market);
    return;
  }
  if (message.type === "snapshot") resyncing.value = false;
  drawBook();
}

function takeShares(message) {
  if (message.market !== marketName.value) return;
  if (shares.take(message)) drawBook();
  else feed.resync({ channel: "peers", market: message.market });
}

function drawBook() {
  if (bookDue) return;
  bookDue = true;
  later(() => {
    bookDue = false;
    bookVersion.value++;
  });
}

function resync(name) {
  book.ready = false;
  resyncing.value = true;
  resyncs.value++;
  feed.resync({ channel: "book", market: name });
}

let lastTrade = 0;
function takeTrades(message) {
  if (message.market !== marketName.value) return;
  const fresh = message.type === "snapshot";
  const added = message.trades.filter((trade) => fresh || trade.number > lastTrade).reverse();
  if (!fresh && added.length && message.trades[0].number > lastTrade + 1) {
    feed.resync({ channel: "trades", market: message.market });
    return;
  }
  lastTrade = fresh ? message.seq : (added[0]?.number ?? lastTrade);
  later(() => {
    trades.value = [...added, ...(fresh ? [] : trades.value)].slice(0, TRADES_KEPT);
    if (added.length) lastPrices.value = { ...lastPrices.value, [message.market]: added[0].price };
  });
}

function takeTicker(message) {
  if (message.market === marketName.value) later(() => (ticker.value = message));
}

let candlesTo = null; // { market, interval, draw } of the open chart
function takeCandles(message) {
  const to = candlesTo;
  if (to?.market !== message.market || to.interval !== message.interval) return;
  later(() => to === candlesTo && to.draw(message));
}

// Calls `draw` with every message of candles, until the returned function is called.
export function watchCandles(name, interval, draw) {
  const subscription = { channel: "candles", market: name, interval };
  const to = (candlesTo = { market: name, interval, draw });
  if (name) feed.subscribe(subscription);
  return () => {
    feed.unsubscribe(subscription);
    if (candlesTo === to) candlesTo = null;
  };
}

let mine = NO_ORDERS; // what `orders` shows after the next frame
let onFills = () => {};

function takeOrders(message) {
  if (message.account !== account.value) return;
  const news = newFills(mine, message);
  mine = mergeOrders(mine, message);
  later(() => {
    orders.value = mine;
    ordersHeard.value ||= message.type === "snapshot" && message.account === account.value;
  });
  if (news.length) onFills(news);
}

// Calls `told` with the new fills of orders that were open, at once, also while the page is hidden.
export const watchFills = (told) => (onFills = told);

function takeMesh(message) {
  const was = mesh.value.state;
  later(() => (mesh.value = { ...STARTING, ...message }));
  if (message.state === "live" && (was !== "live" || !markets.value.length)) later(() => loadMarkets());
}

// The members have changed a market. The first list comes by `loadMarkets`.
function takeMarkets({ markets: found }) {
  if (markets.value.length) later(() => (markets.value = found));
}

// Uses up a one-time link. A preview that only fetches the address does not: it runs no script, and a
// prerendered page waits until a person sees it.
export async function spendLink() {
  const token = new URLSearchParams(location.search).get("token");
  if (token === null) return;
  if (document.prerendering) {
    await new Promise((seen) => document.addEventListener("prerenderingchange", seen, { once: true }));
  }
  const response = await fetch("/session/link", { method: "POST", body: JSON.stringify({ token }) });
  history.replaceState(null, "", response.ok ? "/" : "/?link=used");
}

// The page is read-only at once. The session is loaded again when the peer is back.
function endSession() {
  feed.unsubscribe({ channel: "orders", account: account.value });
  batch(() => {
    session.value = { account: "", scopes: [], ended: true };
    orders.value = mine = NO_ORDERS;
    ordersHeard.value = false;
  });
}

async function loadSession() {
  const response = await fetch("/session");
  if (response.ok) session.value = await response.json();
  const own = session.value?.account;
  if (own && (!isAdmin.value || account.value.startsWith("guest-"))) account.value = own;
  if (usesOwnKey.value) await useOwnKey().catch((error) => toast("bad", "My own key:", error.message));
}

// Trades as the account of this browser's own key from now on. Throws an Error if it can't.
export async function useOwnKey() {
  const name = await openKey();
  await showKey(name).finally(() => {
    usesOwnKey.value = true; // not before: the connection may be replaced, and its pending requests are lost
    chooseAccount(name);
  });
}

export function leaveOwnKey() {
  usesOwnKey.value = false;
  const own = session.value?.account;
  chooseAccount(own && own !== ownAccount.value ? own : newGuest());
}

// Proves the key to the peer, which shows an account's orders only to its holder.
async function showKey(name) {
  const known = session.value ?? {};
  if (isAdmin.value || known.account === name || known.reads === name) return;
  const response = await signStatement(mesh.value.mesh, mesh.value.peer, (signature) =>
    fetch("/session", { method: "POST", body: JSON.stringify({ account: name, signature }) }),
  );
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  const isNew = !known.account;
  session.value = answer;
  if (isNew) feed.socket.close(); // the next connection has the session's cookie
}

// Asks for the last prices of the other markets.
export async function loadPrices() {
  for (const { symbol } of markets.value) {
    if (symbol === marketName.value) continue;
    const response = await fetch(`/ticker?market=${encodeURIComponent(symbol)}`).catch(() => null);
    const last = response?.ok && (await response.json()).last;
    if (last) lastPrices.value = { ...lastPrices.value, [symbol]: last };
  }
}

let loading = null; // the list of markets that was asked for and has not come
async function loadMarkets() {
  loading ??= fetchMarkets().finally(() => (loading = null));
  const found = await loading;
  if (!found.length || JSON.stringify(found) === JSON.stringify(markets.value)) return;
  const known = found.some((entry) => entry.symbol === marketName.value);
  markets.value = found;
  chooseMarket(known ? marketName.value : found[0].symbol);
  chooseAccount(account.value);
}

async function fetchMarkets() {
  if (!session.value) await loadSession();
  const response = await fetch("/markets");
  return response.ok ? response.json() : [];
}

const MARKET_CHANNELS = ["book", "peers", "trades", "ticker"];

export function chooseMarket(name) {
  for (const channel of MARKET_CHANNELS) {
    if (name !== book.market && book.market) feed.unsubscribe({ channel, market: book.market });
  }
  batch(() => {
    if (name !== marketName.value) group.value = 1;
    marketName.value = name;
    trades.value = [];
    ticker.value = null;
    book = new Book(name, places.value);
    shares = new Shares(name, places.value);
    bookVersion.value++;
  });
  for (const channel of MARKET_CHANNELS) feed.subscribe({ channel, market: name });
}

export function chooseAccount(name) {
  if (name !== account.value) feed.unsubscribe({ channel: "orders", account: account.value });
  batch(() => {
    if (name !== account.value) {
      orders.value = mine = NO_ORDERS;
      ordersHeard.value = false;
    }
    account.value = name;
  });
  if (mayRead.value) feed.subscribe({ channel: "orders", account: name });
}

// Sends the request that `build` makes, signed if the account is this browser's own key.
function ask(build, command) {
  if (!isOwn.value) return feed.request(build({}));
  return signCommand(mesh.value.mesh, command(), (signature) => feed.request(build({ signature })));
}

export function placeOrder(order, symbol) {
  const wanted = { ...order, market: symbol, account: account.value };
  return ask((more) => ({ op: "order", order: { ...wanted, ...more } }), () => submitOf(wanted, marketOf(symbol)));
}

// `change` has a new price, a new open quantity, or both.
export function changeOrder(order, change) {
  const size = (text) => toUnits(text, placesIn(order.market).quantity);
  const grows = change.price === undefined && size(change.quantity) > size(order.remaining);
  const wanted = isOwn.value && grows && order.price ? { ...change, price: order.price } : change;
  return ask(
    (more) => ({ op: "change", order: order.id, account: account.value, market: order.market, ...wanted, ...more }),
    () => changeOf(account.value, order.id, wanted, marketOf(order.market)),
  );
}

export const cancelOrder = (id) =>
  ask((more) => ({ op: "cancel", order: id, account: account.value, ...more }), () => cancelOf(account.value, id));

// Of one market or, if `symbol` is empty, of all; of one side or, if `side` is empty, of both.
export const cancelAll = (symbol, side) =>
  ask(
    (more) => ({ op: "cancel_all", account: account.value, market: symbol, ...(side && { side }), ...more }),
    () => cancelAllOf(account.value, symbol, side),
  );
