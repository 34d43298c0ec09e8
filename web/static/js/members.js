// The members: name, life, lag, clock and book of each, in the mesh's table and in the strip.
// Owns their rows. Must never say of a member what this page does not know now.
import { awaySince } from "./away.js";
import { condition, lifeOf } from "./condition.js";
import { grouped } from "./decimal.js";
import * as as from "./format.js";
import { html } from "./html.js";
import { PeerMark } from "./peers.js";
import { Pulse } from "./pulse.js";
import { mesh } from "./store.js";

const AGREES = {
  true: ["=", "same", "Its book has the same digest as this one"],
  false: ["≠", "DIFFERS", "Its book has another digest: the peers disagree"],
  null: ["", "—", "Not comparable: not at the same commit, or not heard"],
};
const LIVES = {
  yes: ["●", "alive"],
  no: ["○", "silent"],
  stopped: ["■", "stopped"],
  unknown: ["?", "not known"],
};

function age(ms) {
  if (ms < 0) return "never heard";
  if (ms < 1000) return "just now";
  return ms < 60_000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60_000)} min ago`;
}

export function Alive({ peer }) {
  const life = lifeOf(peer);
  const [sign, word] = LIVES[life];
  const hears = peer.alive ? `, hears ${peer.hears?.join(", ") || "no other peer"}` : "";
  const heard = peer.self ? hears : `, heard ${age(peer.age_ms)}${hears}`;
  const since = life === "no" ? awaySince(peer) : 0;
  return html`<span class="life ${life}" title=${life === "unknown" ? "This page has no news of it" : `${word}${heard}`}
    ><span aria-hidden="true">${sign}</span> <span class="life-word">${word}${since ? ` since ${as.day(since)}` : ""}</span></span
  >`;
}

// Whether its book is the same as this peer's, as the row's sign and word.
export function Agrees({ peer }) {
  const { known } = condition.value;
  const said = !known ? null : peer.self ? true : peer.alive ? peer.agrees : peer.agrees === false ? false : null;
  const [sign, word, title] = AGREES[said];
  return html`<span class="agree ${said}" title=${known ? title : "Not known now"}><span aria-hidden="true">${sign}</span> ${peer.self && known ? "here" : word}</span>`;
}

const newest = () => Math.max(0, ...mesh.value.peers.map((peer) => peer.commit));

export function lagOf(peer) {
  if (!condition.value.known || !peer.alive) return "—";
  const lag = Math.max(0, newest() - peer.commit);
  return lag ? `−${grouped(lag)}` : "0";
}

export const Name = ({ peer, index, here }) => html`<${PeerMark} index=${index} name=${peer.name} />
  <span class="peer-name">${peer.name}${peer.self && here ? html`<small> · here</small>` : null}</span>`;

const HEADS = [
  ["Peer"],
  ["Seat", "amount seat"],
  ["State"],
  ["Blocks", "lane"],
  ["Round", "amount round"],
  ["Commit", "amount commit"],
  ["Lag", "amount"],
  ["Clock, ms", "amount clock"],
  ["Book", "amount"],
];

// A clock before the median, in milliseconds.
const clockOf = ({ clock_ms: ahead, alive }) => (condition.value.known && alive && ahead != null ? as.signed(String(ahead), String) : "—");

const Row = ({ peer, index }) => html`<tr class=${lifeOf(peer) === "yes" ? "alive" : "silent"}>
  <th scope="row" title=${`${peer.address || "never found"}\nkey ${peer.key}`}><${Name} peer=${peer} index=${index} here /></th>
  <td class="amount seat">${peer.seat ?? "—"}</td>
  <td><${Alive} peer=${peer} /></td>
  <td class="lane"><${Pulse} name=${peer.name} index=${index} /></td>
  <td class="amount round">${grouped(peer.round)}</td>
  <td class="amount commit">${grouped(peer.commit)}</td>
  <td class="amount">${lagOf(peer)}</td>
  <td class="amount clock" title="How far its clock is ahead of the median of all that are heard">${clockOf(peer)}</td>
  <td class="amount"><${Agrees} peer=${peer} /></td>
</tr>`;

export const Peers = () => html`<table>
  <caption class="hidden">The members of the mesh as this peer sees them</caption>
  <thead>
    <tr>${HEADS.map(([head, kind]) => html`<th key=${head} scope="col" class=${kind}>${head}</th>`)}</tr>
  </thead>
  <tbody>
    ${mesh.value.peers.map((peer, index) => html`<${Row} key=${peer.name} ...${{ peer, index }} />`)}
  </tbody>
</table>`;

