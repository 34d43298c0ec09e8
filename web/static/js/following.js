// What a peer that is no member says of itself, wherever a person could take it for one.
// Owns the words. Must never offer what such a peer refuses.
import { condition } from "./condition.js";
import { grouped } from "./decimal.js";
import { html } from "./html.js";
import { openOwnKey } from "./ownkey.js";
import { commit, isFollower, mesh } from "./store.js";

const listed = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join());

// How far this peer is behind the members, in words.
function placeOf() {
  if (!condition.value.known) return "How far it is behind is not known now.";
  const { behind } = mesh.value;
  const where = behind ? `${grouped(behind)} ${behind === 1 ? "commit" : "commits"} behind the newest` : "the newest";
  return `It shows commit ${grouped(commit.value.commit)}, ${where} that it has heard of.`;
}

export const FOLLOWS = "This peer follows the mesh and is no member: it forwards signed orders.";

// In the mesh view.
export function Following() {
  if (!isFollower.value) return null;
  return html`<section class="following" aria-label="This peer">
    <h3>This peer follows the mesh</h3>
    <p>It is no member: it has no seat and no vote. It shows what ${listed(mesh.value.peers.map(({ name }) => name))} order.</p>
    <p>It forwards orders that are signed by their account's own key to a member. It refuses all others: no member could tell who has sent them.</p>
    <p>${placeOf()}</p>
  </section>`;
}

// In the place of the order form.
export const KeyNeeded = () => html`<div class="notice" role="note" aria-label="This peer follows">
  <strong>This peer follows the mesh</strong>
  <p>It is no member. It forwards orders that are signed by a key of your own, and refuses all others.</p>
  <button class="button" onClick=${openOwnKey}>Use this browser's key</button>
</div>`;

// In the header.
export const FollowerMark = () => (isFollower.value ? html`<span class="pill follower" title=${FOLLOWS}>Follower</span>` : null);
