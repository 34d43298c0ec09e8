// The mesh panel: every peer, its round and commit, and whether all peers agree.
import { grouped } from "./decimal.js";
import { html } from "./html.js";
import { PeerMark } from "./peers.js";
import { Pulse } from "./pulse.js";
import { commit, mesh } from "./store.js";

const AGREES = {
  true: ["=", "same", "Its book has the same digest as this one"],
  false: ["≠", "DIFFERS", "Its book has another digest: the peers disagree"],
  null: ["·", "—", "Not comparable: not at the same commit, or not heard"],
};

function age(ms) {
  if (ms < 0) return "never heard";
  if (ms < 1000) return "just now";
  return ms < 60_000 ? `${Math.round(ms / 1000)} s ago` : `${Math.round(ms / 60_000)} min ago`;
}

// Alarms that differ only in numbers and digests are shown once, in their last form.
export function alarmKinds(alarms) {
  const kinds = new Map();
  for (const text of alarms) {
    const kind = text.replace(/[0-9a-f]{16,}|\d+/g, "#");
    kinds.set(kind, { text, count: (kinds.get(kind)?.count ?? 0) + 1 });
  }
  return [...kinds.values()].reverse();
}

function Alive({ peer }) {
  const [kind, sign, word] = peer.self && mesh.value.halted ? ["no", "■", "stopped"] : peer.alive ? ["yes", "●", "alive"] : ["no", "○", "silent"];
  const hears = peer.alive ? `, hears ${peer.hears?.join(", ") || "no other peer"}` : "";
  const heard = peer.self ? hears : `, heard ${age(peer.age_ms)}${hears}`;
  return html`<span class="alive-state ${kind}" title="${word}${heard}"
    ><span aria-hidden="true">${sign}</span> <span class="state-word">${word}</span></span
  >`;
}

function Peer({ peer, index, newest }) {
  const lag = Math.max(0, newest - peer.commit);
  const said = peer.self ? true : peer.alive ? peer.agrees : peer.agrees === false ? false : null;
  const [sign, word, title] = AGREES[said];
  return html`<tr class=${peer.alive ? "alive" : "silent"}>
    <th scope="row" title=${`${peer.address || "never found"}\nkey ${peer.key}`}>
      <${PeerMark} index=${index} name=${peer.name} />
      <span class="peer-name">${peer.name}${peer.self ? html`<small> · here</small>` : null}</span>
    </th>
    <td><${Alive} peer=${peer} /></td>
    <td class="lane"><${Pulse} name=${peer.name} index=${index} /></td>
    <td class="amount round">${grouped(peer.round)}</td>
    <td class="amount">${grouped(peer.commit)}</td>
    <td class="amount">${peer.alive ? (lag ? `−${grouped(lag)}` : "0") : "—"}</td>
    <td class="agree ${said}" title=${title}><span aria-hidden="true">${sign}</span> ${peer.self ? "self" : word}</td>
  </tr>`;
}

// The verdict: do all peers hold the same book, and is there a quorum?
function Verdict() {
  const { peers, quorum, quorum_size: needed, halted } = mesh.value;
  const alive = peers.filter((peer) => peer.alive);
  const odd = peers.filter((peer) => peer.agrees === false).map((peer) => peer.name);
  const same = alive.filter((peer) => peer.self || peer.agrees === true);
  const [kind, sign, text] = halted
    ? ["bad", "■", "This peer has stopped"]
    : odd.length
      ? ["bad", "≠", `${odd.join(", ")} ${odd.length > 1 ? "hold other books" : "holds another book"}`]
      : !quorum
        ? ["warn", "○", "No quorum: nothing is ordered"]
        : same.length === 1 && peers.length > 1
          ? ["", "·", "Nothing to compare yet"]
          : ["good", "=", `${same.length === peers.length ? `All ${peers.length}` : `${same.length} of ${peers.length}`} peers hold the same book`];
  return html`<div class="verdict ${kind}">
    <span class="verdict-sign" aria-hidden="true">${sign}</span>
    <strong>${text}</strong>
    <span class="verdict-quorum">
      <span class="quorum-dots" aria-hidden="true">${peers.map((peer) => html`<i key=${peer.name} class=${peer.alive ? "on" : ""}></i>`)}</span>
      ${alive.length} of ${peers.length} alive, ${needed ?? "?"} needed
    </span>
  </div>`;
}

const HEADS = [
  ["Peer"],
  ["State"],
  ["Blocks", "lane"],
  ["Round", "amount round"],
  ["Commit", "amount"],
  ["Lag", "amount"],
  ["Book", "amount"],
];

function Peers() {
  const { peers } = mesh.value;
  const newest = Math.max(0, ...peers.map((peer) => peer.commit));
  return html`<table>
    <caption class="hidden">The members of the mesh as this peer sees them</caption>
    <thead>
      <tr>${HEADS.map(([head, kind]) => html`<th key=${head} scope="col" class=${kind}>${head}</th>`)}</tr>
    </thead>
    <tbody>
      ${peers.map((peer, index) => html`<${Peer} key=${peer.name} ...${{ peer, index, newest }} />`)}
    </tbody>
  </table>`;
}

const Alarms = () => html`<ul class="alarms" aria-label="Alarms">
  ${alarmKinds(mesh.value.alarms).map(
    ({ text, count }) => html`<li key=${text}><span aria-hidden="true">▲</span> ${text}${count > 1 ? html` <b>× ${count}</b>` : null}</li>`,
  )}
</ul>`;

function Digest() {
  const { digest, commit: number } = commit.value;
  const { finality_ms: finality, pending } = mesh.value;
  return html`<p class="digest" title=${digest}>
    <span>Commit <b>${grouped(number)}</b></span>
    <span>Digest <code>${digest ? digest.slice(0, 16) : "—"}</code></span>
    <span class="digest-end">${pending ? `${pending} pending` : finality ? `Final in ${finality.toFixed(1)} ms` : ""}</span>
  </p>`;
}

export function MeshPanel() {
  const { peers, mode, round, alarms } = mesh.value;
  return html`<section class="panel mesh" data-panel="mesh" aria-label="Mesh">
    <header class="panel-head">
      <h2>Mesh</h2>
      <span class="quiet">${mode ? `${mode} faults · round ${grouped(round)}` : ""}</span>
    </header>
    ${peers.length
      ? html`<${Verdict} />
          <div class="scroll" tabindex="0" role="group" aria-label="Peers">
            <${Peers} />
            ${alarms.length ? html`<${Alarms} />` : null}
          </div>
          <${Digest} />`
      : html`<p class="nothing">No data from this peer's node yet.</p>`}
  </section>`;
}
