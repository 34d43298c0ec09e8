// What the page knows at this moment: one condition, from which every panel takes its look and its words.
// Owns the conditions and which one counts when several hold. Must never be second-guessed: a panel that
// asks the connection or the mesh by itself may show old figures as new.
import { computed } from "@preact/signals";
import { connection, mayTrade, mesh, resyncing, session } from "./store.js";

const OLD = "What you see may be old";

// Per condition: tone, sign, word, one line for a person, and
// - `fresh`: prices, levels and trades are those of now, and to be trusted
// - `known`: what is shown about the peers is true now
// - `orders`: orders that are sent now are ordered soon; with it, the time to finality is known
// - `blocked`: why no order can be sent; empty if one can
export const CONDITIONS = {
  connecting: ["warn", "◌", "Connecting", "Opening the connection to this peer.", { blocked: "Not connected to this peer" }],
  offline: ["bad", "✕", "Offline", `No connection to this peer: trying again. ${OLD}.`, { blocked: "Not connected to this peer" }],
  starting: ["warn", "◌", "Peer starting", "The book appears when this peer's node has it.", { blocked: "This peer's node is starting" }],
  stale: ["warn", "▲", "Stale", `This peer's node is silent. ${OLD}; orders are refused until it is back.`, { blocked: "This peer's node is silent" }],
  halted: ["bad", "■", "Stopped", "This peer has stopped by itself: the page shows its state at that time.", { known: true, blocked: "This peer has stopped" }],
  resyncing: ["note", "⟳", "Resyncing", "A message was lost: the page loads the whole book again.", { known: true, orders: true }],
  divided: ["bad", "≠", "Peers disagree", "Peers hold different books: trust no price.", { known: true }],
  quorum: ["warn", "○", "No quorum", "Orders wait, nothing matches.", { fresh: true, known: true }],
  behind: ["note", "◌", "Catching up", "This peer loads what the other peers have ordered meanwhile.", { fresh: true, known: true, orders: true }],
  alarm: ["bad", "▲", "Alarm", "This peer has raised an alarm.", { fresh: true, known: true, orders: true }],
  live: ["good", "●", "Live", "Every change of the book reaches this page as it happens.", { fresh: true, known: true, orders: true }],
};

// The name of the condition; the first that holds counts.
export function nameOf(connected, { state, halted, peers, quorum, catching_up: missing, alarms }, isResyncing) {
  if (connected !== "live") return connected;
  if (state !== "live") return state;
  if (halted) return "halted";
  if (isResyncing) return "resyncing";
  if (peers.some((peer) => peer.agrees === false)) return "divided";
  if (!quorum) return "quorum";
  if (missing) return "behind";
  return alarms.length ? "alarm" : "live";
}

export const condition = computed(() => {
  const name = nameOf(connection.value, mesh.value, resyncing.value);
  const [tone, sign, word, text, { fresh = false, known = false, orders = false, blocked = "" }] = CONDITIONS[name];
  return { name, tone, sign, word, text, fresh, known, orders, blocked };
});

// True: this page can't trade, and says so. Unknown until the session is loaded.
export const isReadOnly = computed(() => session.value !== null && !mayTrade.value);

// How many peers are known to work, this one included.
export const aliveCount = () => mesh.value.peers.filter((peer) => lifeOf(peer) === "yes").length;

// What is known about one peer: yes, no, stopped or unknown.
export function lifeOf(peer) {
  if (!condition.value.known) return "unknown";
  if (peer.self && mesh.value.halted) return "stopped";
  return peer.alive ? "yes" : "no";
}
