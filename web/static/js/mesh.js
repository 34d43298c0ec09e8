// The mesh: a strip below the order form, and the whole view with lanes, rounds, digests and alarms.
import { useEffect, useRef } from "preact/hooks";
import { adviceOn, alarmKinds } from "./alarms.js";
import { Away } from "./away.js";
import { Candidates } from "./candidates.js";
import { aliveCount, condition, lifeOf } from "./condition.js";
import { grouped } from "./decimal.js";
import { Following } from "./following.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { showMesh } from "./layout.js";
import { Agrees, Alive, lagOf, Name, Peers } from "./members.js";
import { Proposals } from "./proposals.js";
import { Pulse } from "./pulse.js";
import { commit, isFollower, mesh } from "./store.js";

// Do all peers hold the same book, and is there a quorum? Tone, sign, short words, and the whole.
function verdictOf() {
  const { peers, quorum, halted } = mesh.value;
  const alive = peers.filter((peer) => peer.alive);
  const odd = peers.filter((peer) => peer.agrees === false).map((peer) => peer.name);
  const same = alive.filter((peer) => peer.self || peer.agrees === true);
  const all = same.length === peers.length;
  if (!condition.value.known) return ["", "?", "not known", "Not known: no news from this peer"];
  if (halted) return ["bad", "■", "stopped", "This peer has stopped"];
  if (odd.length) return ["bad", "≠", "books differ", `${odd.join(", ")} ${odd.length > 1 ? "hold other books" : "holds another book"}`];
  if (!quorum) return ["warn", "○", "no quorum", "No quorum: nothing is ordered"];
  const others = same.filter((peer) => !peer.self).length;
  if (!others && peers.length > 1) return ["", "·", "comparing", "Nothing to compare yet"];
  const who = `${all ? `All ${peers.length}` : `${same.length} of ${peers.length}`} ${isFollower.value ? "members hold the book of this peer" : "peers hold the same book"}`;
  return ["good", "=", all ? "same book" : `${same.length} of ${peers.length} same`, who];
}

function Verdict() {
  const { peers, quorum_size: needed } = mesh.value;
  const { known } = condition.value;
  const [tone, sign, , text] = verdictOf();
  return html`<div class="verdict ${tone}">
    <span class="verdict-sign" aria-hidden="true">${sign}</span>
    <strong>${text}</strong>
    <span class="verdict-quorum">
      <span class="quorum-dots" aria-hidden="true">${peers.map((peer) => html`<i key=${peer.name} class=${lifeOf(peer) === "yes" ? "on" : ""}></i>`)}</span>
      ${known ? `${aliveCount()} of ${peers.length} alive, ${needed ?? "?"} needed` : `${peers.length} members`}
    </span>
  </div>`;
}

const Alarms = () => html`<section class="alarms" aria-label="Alarms">
  <h3>Alarms</h3>
  <ul>
    ${alarmKinds(mesh.value.alarms).map(
      ({ text, count }) => html`<li key=${text}>
        <p><span aria-hidden="true">▲</span> ${text}${count > 1 ? html` <b>× ${count}</b>` : null}</p>
        <p class="quiet">${adviceOn(text)}</p>
      </li>`,
    )}
  </ul>
</section>`;

const Fact = ({ label, value, title }) => html`<div title=${title}><dt>${label}</dt><dd>${value}</dd></div>`;

function Facts() {
  const { digest, commit: number } = commit.value;
  const { finality_ms: finality, pending, mode, round, quorum_size: needed, peers, epoch } = mesh.value;
  const { known, orders } = condition.value;
  const now = (value) => (known ? value : "—");
  return html`<dl class="mesh-facts">
    <${Fact} label="Commit" value=${grouped(number)} />
    <${Fact} label="Round" value=${grouped(round ?? 0)} />
    <${Fact} label="Final in" value=${orders && finality ? `${finality.toFixed(1)} ms` : "—"} title="From an order's arrival to its place in the order of all peers" />
    <${Fact} label="Waiting" value=${now(grouped(pending ?? 0))} title="Orders that are not ordered yet" />
    <${Fact} label="Epoch" value=${epoch ?? "—"} title="Counts the changes of the members" />
    <${Fact} label="Quorum" value="${needed ?? "?"} of ${peers.length}" />
    <${Fact} label="Faults" value=${mode ?? "—"} title="What up to f members may do: crash, or lie (byzantine)" />
    <${Fact} label="Digest" value=${html`<code>${digest ? digest.slice(0, 16) : "—"}</code>`} title="Of the whole market after commit ${number}: ${digest}" />
  </dl>`;
}

const View = () => html`<${Verdict} />
  <div class="scroll" tabindex="0" role="group" aria-label="Peers">
    <${Following} />
    <${Peers} />
    <${Away} />
    <${Facts} />
    <${Candidates} />
    <${Proposals} />
    ${mesh.value.alarms.length ? html`<${Alarms} />` : null}
  </div>`;

const Nothing = () => html`<p class="nothing">No data from this peer's node yet.</p>`;

// On a narrow screen, the whole view is a panel.
export const MeshPanel = () => html`<section class="panel mesh" aria-label="Mesh">
  <h2 class="hidden">Mesh</h2>
  ${mesh.value.peers.length ? html`<${View} />` : html`<${Nothing} />`}
</section>`;

// On a wide screen it is a drawer over the panels.
export function MeshDrawer() {
  const dialog = useRef(null);
  useEffect(() => {
    if (showMesh.value) dialog.current.showModal();
    else dialog.current.close();
  }, [showMesh.value]);
  const close = () => (showMesh.value = false);
  const onClick = (event) => event.target === dialog.current && close(); // beside the drawer
  return html`<dialog class="drawer mesh" ref=${dialog} aria-labelledby="mesh-title" onClose=${close} onClick=${onClick}>
    <div class="drawer-content">
      <header class="panel-head">
        <h2 id="mesh-title">Mesh</h2>
        <button class="icon" aria-label="Close" onClick=${close}><${Icon} name="close" /></button>
      </header>
      ${showMesh.value ? (mesh.value.peers.length ? html`<${View} />` : html`<${Nothing} />`) : null}
    </div>
  </dialog>`;
}

// Name, life, lag and book of every peer; a click opens the whole view.
export function MeshStrip() {
  const { peers } = mesh.value;
  const [tone, sign, short, text] = verdictOf();
  return html`<section class="panel mesh-strip" aria-label="Mesh" onClick=${() => (showMesh.value = true)}>
    <header class="panel-head">
      <h2>Mesh</h2>
      <button class="mesh-open ${tone}" title=${text} aria-haspopup="dialog">
        <span aria-hidden="true">${sign}</span><span class="hidden">Mesh: </span>${short}<${Icon} name="next" />
      </button>
    </header>
    <ul class="strip" aria-label="Peers">
      ${peers.map(
        (peer, index) => html`<li key=${peer.name}>
          <${Name} peer=${peer} index=${index} />
          <${Alive} peer=${peer} />
          <span class="lag amount" title="Commits behind the newest">${lagOf(peer)}</span>
          <${Agrees} peer=${peer} />
          <div class="lane"><${Pulse} name=${peer.name} index=${index} /></div>
        </li>`,
      )}
    </ul>
  </section>`;
}
