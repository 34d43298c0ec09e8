// The page's one connection to its peer.
// Owns the WebSocket, its reconnection, the subscriptions and the answers to requests. Passes every
// message on; must never look into a book.

const SILENCE_MS_MAX = 3000; // without a message; the peer sends the mesh twice a second
const RETRY_MS = [250, 500, 1000, 2000, 4000];
const PING_MS = 4000;
const REQUESTS_MAX = 64;
const REFUSED = 1008; // the close code when a key or session has ended

export class Feed {
  // `onMessage` gets every channel message, `onState` one of connecting, live, stale, offline;
  // `onRefused` is called when the session of this browser may have ended.
  constructor({ onMessage, onState, onLatency, onRefused }) {
    this.onRefused = onRefused;
    this.onMessage = onMessage;
    this.onState = onState;
    this.onLatency = onLatency;
    this.channels = new Map(); // key -> subscription
    this.requests = new Map(); // id -> { resolve }
    this.count = 0;
    this.tries = 0;
    this.heard = 0;
    this.state = "connecting";
  }

  start() {
    this.connect();
    setInterval(() => this.watch(), 500);
    setInterval(() => this.ping(), PING_MS);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  connect() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?channels=mesh,commit,markets,proposals`);
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => this.closed(socket, event.code);
  }

  opened() {
    this.tries = 0;
    this.heard = performance.now();
    for (const subscription of this.channels.values()) this.send({ op: "subscribe", ...subscription });
    setTimeout(() => this.ping(), 1000);
  }

  closed(socket, code) {
    if (socket !== this.socket) return;
    if (code === REFUSED) this.onRefused();
    for (const request of this.requests.values()) request.resolve(LOST);
    this.requests.clear();
    this.change("offline");
    const wait = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
    this.timer = setTimeout(() => this.connect(), wait * (0.75 + Math.random() / 2));
  }

  retryNow() {
    if (this.socket?.readyState === WebSocket.CLOSED) this.connect();
  }

  watch() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (performance.now() - this.heard > SILENCE_MS_MAX) this.change("stale");
  }

  take(message) {
    this.heard = performance.now();
    this.change("live");
    if ("reply" in message) this.answer(message);
    else this.onMessage(message);
  }

  change(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }

  subscribe(subscription) {
    this.channels.set(keyOf(subscription), subscription);
    this.send({ op: "subscribe", ...subscription });
  }

  unsubscribe(subscription) {
    this.channels.delete(keyOf(subscription));
    this.send({ op: "unsubscribe", ...subscription });
  }

  // Requests a new snapshot of a subscribed channel.
  resync(subscription) {
    this.send({ op: "subscribe", ...subscription });
  }

  // Resolves to the final answer to `message`.
  request(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return Promise.resolve(NOT_SENT);
    if (this.requests.size >= REQUESTS_MAX) return Promise.resolve(TOO_MANY);
    const id = ++this.count;
    return new Promise((resolve) => {
      this.requests.set(id, { resolve });
      this.send({ ...message, id });
    });
  }

  answer(message) {
    const request = this.requests.get(message.reply);
    if (!request || message.pending) return; // taken, but not ordered yet
    this.requests.delete(message.reply);
    request.resolve(message);
  }

  async ping() {
    const sent = performance.now();
    const reply = await this.request({ op: "ping" });
    if (reply.ok) this.onLatency(performance.now() - sent);
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

const failure = (detail) => ({ ok: false, error: { detail } });
const NOT_SENT = failure("Not connected to the peer: nothing was sent.");
const TOO_MANY = failure("Too many commands are waiting for the peer: nothing was sent.");
const LOST = failure("The connection was lost before the answer came. Look at your orders.");

const keyOf = ({ channel, market = "", account = "", interval = "" }) => `${channel}/${market}/${account}/${interval}`;
