// The small mark of a peer: the same letter and colour everywhere on the page.
import { html } from "./html.js";
import { mesh } from "./store.js";

const HUES = 8;

export const peerIndex = (id) => parseInt(id, 10) - 1;

// The first letter of its name, or its number if another peer has the same letter.
function letterOf(index, name) {
  const first = (text) => text.slice(0, 1).toUpperCase();
  const alone = mesh.value.peers.every((peer, at) => at === index || first(peer.name) !== first(name));
  return alone ? first(name) : String(index + 1);
}

export function PeerMark({ index, name }) {
  const letter = letterOf(index, name ?? String(index + 1));
  return html`<span class="peer-mark hue${index % HUES}" aria-hidden="true">${letter}</span>`;
}

export const peerName = (index) => mesh.value.peers[index]?.name ?? `peer ${index + 1}`;

// The peer that took an order, by the order's id.
export function PeerBadge({ id }) {
  const index = peerIndex(id);
  const name = peerName(index);
  return html`<span class="peer-badge" title=${name}
    ><${PeerMark} index=${index} name=${name} /><span class="hidden">${name}</span></span
  >`;
}
