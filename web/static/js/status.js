// The line at the bottom: the condition in words, everything else that a user must see, and the commit.
// It has its height from the start, so that news move nothing.
import { alarmKinds } from "./alarms.js";
import { aliveCount, condition } from "./condition.js";
import { grouped } from "./decimal.js";
import { html } from "./html.js";
import { FOLLOWS } from "./following.js";
import { layout, showMesh, view } from "./layout.js";
import { commit, isFollower, mesh } from "./store.js";

export const openMesh = () => (layout.value === "narrow" ? (view.value = "mesh") : (showMesh.value = true));

// What the mesh says about the present condition.
function details(name) {
  const { peers, quorum_size: needed, halted, pending, catching_up: missing } = mesh.value;
  const odd = peers.filter((peer) => peer.agrees === false).map((peer) => peer.name);
  const said = {
    halted: () => halted,
    divided: () => `The book of ${odd.join(", ")} differs from this one: trust no price.`,
    live: () => isFollower.value && FOLLOWS,
    quorum: () => 
      isFollower.value
        ? `This peer hears ${aliveCount()} of ${peers.length} members, and needs ${needed}: what it shows may be old.`
        : `Orders wait, nothing matches. ${aliveCount()} of ${peers.length} peers are alive, ${needed} are needed.${pending ? ` ${pending} waiting.` : ""}`,
    behind: () => missing,
    alarm: () => news()[0].text,
  };
  return said[name]?.();
}

const news = () => alarmKinds(mesh.value.alarms.filter((alarm) => !(mesh.value.halted && alarm.startsWith("halted: "))));

// How many alarms the line itself does not name.
const others = (name) => (condition.value.known ? news().length - (name === "alarm" ? 1 : 0) : 0);

function Facts() {
  if (!condition.value.known) return null;
  const { finality_ms: finality } = mesh.value;
  return html`<span class="status-facts">
    <span>Commit ${grouped(commit.value.commit)}</span>
    ${finality && condition.value.orders ? html`<span>Final in ${finality.toFixed(finality < 10 ? 1 : 0)} ms</span>` : null}
  </span>`;
}

export function Status() {
  const { name, tone, sign, word, text } = condition.value;
  const more = others(name);
  return html`<footer class="status ${tone}" aria-label="State of this page">
    <p class="status-text" role=${tone === "good" ? "status" : "alert"}>
      <span aria-hidden="true">${sign}</span> <strong>${word}.</strong> ${details(name) || text}
    </p>
    ${more > 0 ? html`<button class="link" onClick=${openMesh}>${more} ${more === 1 ? "alarm" : "alarms"}</button>` : null}
    <${Facts} />
  </footer>`;
}
