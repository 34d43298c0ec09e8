// Who holds this book: every peer, how far it is, and whether all of them agree.
import { grouped } from "./decimal.js";
import { html } from "./html.js";
import { PeerMark } from "./peers.js";
import { mesh } from "./store.js";

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

function Peer({ peer, index, newest }) {
  const lag = Math.max(0, newest - peer.commit);
  const [sign, word, title] = AGREES[peer.self ? true : peer.agrees];
  return html`<tr class=${peer.alive ? "alive" : "silent"}>
    <th scope="row">
      <${PeerMark} index=${index} name=${peer.name} />
      <span class="peer-name" title=${`${peer.address || "never found"}\nkey ${peer.key}`}
        >${peer.name}${peer.self ? html`<small> · here</small>` : null}</span
      >
    </th>
    <td>
      <span class="alive-state ${peer.alive ? "yes" : "no"}" title=${peer.self ? "" : age(peer.age_ms)}
        ><span aria-hidden="true">${peer.alive ? "●" : "○"}</span> ${peer.alive ? "alive" : "silent"}</span
      >
    </td>
    <td class="amount" title="Round ${peer.round}">${grouped(peer.commit)}</td>
    <td class="amount">${peer.alive ? (lag ? `−${grouped(lag)}` : "0") : "—"}</td>
    <td class="agree ${peer.self ? true : peer.agrees}" title=${title}>
      <span aria-hidden="true">${sign}</span> ${peer.self ? "self" : word}
    </td>
  </tr>`;
}

function Quorum() {
  const { peers, quorum, quorum_size: needed } = mesh.value;
  const alive = peers.filter((peer) => peer.alive).length;
  return html`<div class="quorum ${quorum ? "yes" : "no"}">
    <div class="quorum-dots" aria-hidden="true">
      ${peers.map((peer) => html`<i key=${peer.name} class=${peer.alive ? "on" : ""}></i>`)}
    </div>
    <p>
      <strong>${quorum ? "Quorum" : "No quorum"}</strong>
      <span class="quiet">${alive} of ${peers.length} alive, ${needed ?? "?"} needed</span>
    </p>
  </div>`;
}

function Agreement() {
  const { peers, digest } = mesh.value;
  const odd = peers.filter((peer) => peer.agrees === false);
  const same = peers.filter((peer) => peer.agrees === true && !peer.self).length + 1;
  return html`<p class="agreement ${odd.length ? "no" : "yes"}" title=${digest}>
    <span class="quiet">Book digest</span> <code>${digest ? `${digest.slice(0, 12)}…` : "—"}</code>
    <span class="verdict">${odd.length ? `≠ ${odd.map((peer) => peer.name).join(", ")}` : `= on ${same} of ${peers.length}`}</span>
  </p>`;
}

export function MeshPanel() {
  const { peers, mode, round, pending } = mesh.value;
  const newest = Math.max(0, ...peers.map((peer) => peer.commit));
  return html`<section class="panel mesh" data-panel="mesh" aria-label="Mesh">
    <header class="panel-head">
      <h2>Mesh</h2>
      <span class="quiet">${mode ? `${mode} faults · round ${grouped(round)}` : ""}${pending ? ` · ${pending} pending` : ""}</span>
    </header>
    ${peers.length
      ? html`<${Quorum} />
          <div class="scroll" tabindex="0" role="group" aria-label="Peers">
            <table>
              <caption class="hidden">The members of the mesh as this peer sees them</caption>
              <thead>
                <tr>
                  <th scope="col">Peer</th>
                  <th scope="col">State</th>
                  <th scope="col" class="amount">Commit</th>
                  <th scope="col" class="amount">Lag</th>
                  <th scope="col">Book</th>
                </tr>
              </thead>
              <tbody>
                ${peers.map((peer, index) => html`<${Peer} key=${peer.name} ...${{ peer, index, newest }} />`)}
              </tbody>
            </table>
          </div>
          <${Agreement} />`
      : html`<p class="nothing">This peer's node has not spoken yet.</p>`}
  </section>`;
}
