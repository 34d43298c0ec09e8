// The members that are away: since when, and a button that proposes to remove one.
// Owns when a silent member was last heard. Must never propose without asking first.
import { condition, lifeOf } from "./condition.js";
import { confirmed } from "./confirm.js";
import * as as from "./format.js";
import { html } from "./html.js";
import { propose, removalOf } from "./proposals.js";
import { isAdmin, isFollower, mesh, presence } from "./store.js";

const SAME_MS = 1500; // two times that are nearer are one

// When a silent peer was last heard or, if this peer has never heard it, when its last block was ordered;
// 0 if neither is known. A time once found stays, though the messages' ages are rounded.
const lastHeard = new Map(); // name -> milliseconds
export function awaySince({ name, age_ms: heardBefore }) {
  const block = presence.value.find((member) => member.name === name)?.time ?? 0;
  const found = heardBefore < 0 ? block : Date.now() - heardBefore;
  if (Math.abs(found - (lastHeard.get(name) ?? 0)) > SAME_MS) lastHeard.set(name, found);
  return lastHeard.get(name) ?? 0;
}

function awayText(peer) {
  const since = awaySince(peer);
  return since ? `${peer.name} since ${as.day(since)}` : `${peer.name}, not heard since this peer's start`;
}

// How many of `size` members make a quorum, as peer/consensus/committee.py has it.
const quorumOf = (size) => size - Math.floor((size - 1) / (mesh.value.mode === "crash" ? 2 : 3));

async function remove(peer) {
  const left = mesh.value.peers.length - 1;
  const quorum = quorumOf(left);
  const warnings = [
    `${left === 1 ? "One member remains" : `${left} members remain`}, and ${quorum === left ? "none of them may fail" : `${quorum} of them must be alive`}.`,
    `The key of ${peer.name} can never be a member's again: it could only come back with another one.`,
  ];
  const asked = {
    title: `Propose to remove ${peer.name}?`,
    hint: `${mesh.value.quorum_size} members must approve; by proposing, this peer's member does.`,
    yes: "Propose it",
  };
  if (await confirmed(`Away: ${awayText(peer)}`, warnings, asked)) propose([{ change: "remove_member", member: peer.name }]);
}

// Nothing can be proposed while nothing is ordered.
const Remove = ({ peer }) => html`<button
  type="button"
  class="button small"
  disabled=${!condition.value.orders}
  title=${condition.value.orders ? "" : "Nothing is ordered now"}
  onClick=${() => remove(peer)}
>Propose to remove ${peer.name}</button>`;

export function Away() {
  const gone = mesh.value.peers.filter((peer) => lifeOf(peer) === "no");
  if (!gone.length) return null;
  const mayPropose = isAdmin.value && !isFollower.value && mesh.value.peers.length > 1;
  return html`<div class="away">
    <p>Away: ${gone.map(awayText).join("; ")}</p>
    ${mayPropose ? html`<div class="votes">${gone.filter(({ name }) => !removalOf(name)).map((peer) => html`<${Remove} key=${peer.name} peer=${peer} />`)}</div>` : null}
  </div>`;
}
