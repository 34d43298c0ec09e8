// Messages that every user must see at once.
import { html } from "./html.js";
import { alarmKinds } from "./mesh.js";
import { openOwnKey } from "./ownkey.js";
import { health, mayTrade, mesh, session } from "./store.js";

const ALARMS_SHOWN = 2;

const Banner = ({ kind, title, text, action }) => html`<div class="banner ${kind}" role="alert">
  <strong>${title}</strong><span>${text}</span>
  ${action ? html`<button class="button small" onClick=${action[1]}>${action[0]}</button>` : null}
</div>`;

export function Banners() {
  const { quorum, quorum_size: needed, peers, halted, alarms, pending, state, catching_up: missing } = mesh.value;
  const alive = peers.filter((peer) => peer.alive).length;
  const odd = peers.filter((peer) => peer.agrees === false).map((peer) => peer.name);
  const shown = [];
  if (halted) shown.push(["bad", "This peer has stopped.", halted]);
  if (odd.length) {
    shown.push(["bad", "The peers disagree.", `The book of ${odd.join(", ")} differs from this one: trust no price.`]);
  }
  const news = alarmKinds(halted ? alarms.filter((alarm) => !alarm.startsWith("halted: ")) : alarms);
  for (const { text } of news.slice(0, ALARMS_SHOWN)) shown.push(["bad", "Alarm.", text]);
  if (news.length > ALARMS_SHOWN) shown.push(["bad", "More alarms.", `${news.length - ALARMS_SHOWN} more in the mesh panel.`]);
  if (missing) shown.push(["note", "Catching up with the other peers.", missing]);
  if (quorum === false && state === "live") {
    const waiting = pending ? ` ${pending} waiting.` : "";
    shown.push([
      "warn",
      "No quorum: orders wait, nothing matches.",
      `${alive} of ${peers.length} peers are alive, ${needed} are needed.${waiting}`,
    ]);
  }
  if (health.value === "stale") {
    shown.push(["warn", "This peer's node is silent.", "What you see may be old; orders are refused until it is back."]);
  }
  if (health.value === "offline") {
    shown.push(["warn", "No connection to this peer.", "Trying again; what you see may be old."]);
  }
  if (health.value === "resyncing") {
    shown.push(["note", "Resyncing.", "A message was lost: the page loads the whole book again."]);
  }
  if (health.value === "starting") shown.push(["note", "Peer starting.", "The book appears when the peer has it."]);
  if (session.value && !mayTrade.value) {
    const used = location.search.includes("link=used") ? "That link was used already, or is too old. " : "";
    shown.push([
      "note",
      "Read only.",
      `${used}To trade, use a key of your own, or open a link from this peer: “python -m peer keys DATA link NAME” prints one.`,
      ["Use this browser's key", openOwnKey],
    ]);
  }
  return html`<div class="banners">
    ${shown.map(([kind, title, text, action]) => html`<${Banner} key=${title + text} ...${{ kind, title, text, action }} />`)}
  </div>`;
}
