// What the members have proposed, with buttons for this peer's operator. Part of the mesh panel.
// Owns the list of open proposals and the requests that vote. Must never hide that a vote failed.
import { html } from "./html.js";
import { isAdmin, proposals } from "./store.js";
import { toast } from "./toasts.js";

async function vote(id, what) {
  const response = await fetch(`/proposals/${id}/${what}`, { method: "POST" }).catch(() => null);
  const answer = (await response?.json().catch(() => null)) ?? { detail: "This peer does not answer." };
  if (response?.ok) toast("good", `Proposal ${id}`, answer.state);
  else toast("bad", `Proposal ${id}`, answer.detail);
}

function Vote({ id, what, word }) {
  return html`<button type="button" class="button small" onClick=${() => vote(id, what)} aria-label="${word} proposal ${id}">${word}</button>`;
}

function Proposal({ proposal }) {
  const { id, proposer, changes, state, against } = proposal;
  return html`<li class="proposal">
    <b>${id}</b> ${proposer}: ${changes.join("; ")}
    <div class="quiet">${state}${against.length ? `, against: ${against.join(", ")}` : ""}</div>
    ${isAdmin.value
      ? html`<${Vote} id=${id} what="approve" word="Approve" /> <${Vote} id=${id} what="withdraw" word="Reject" />`
      : null}
  </li>`;
}

export function Proposals() {
  if (!proposals.value.length) return null;
  return html`<ul class="proposals" aria-label="Open proposals">
    ${proposals.value.map((proposal) => html`<${Proposal} key=${proposal.id} proposal=${proposal} />`)}
  </ul>`;
}
