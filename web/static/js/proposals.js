// What the members have proposed, with buttons for this peer's operator. Part of the mesh view.
// Owns the list of open proposals and the requests that vote. Must never hide that a vote failed.
import * as as from "./format.js";
import { html } from "./html.js";
import { endedProposals, isAdmin, isFollower, mesh, proposals } from "./store.js";
import { toast } from "./toasts.js";

const ENDED_MAX = 10;

async function post(path, name, body) {
  const response = await fetch(path, { method: "POST", body }).catch(() => null);
  const answer = (await response?.json().catch(() => null)) ?? { detail: "This peer does not answer." };
  if (response?.ok) toast("good", `Proposal ${answer.id}`, answer.state);
  else toast("bad", name, answer.detail);
}

const vote = (id, what) => post(`/proposals/${id}/${what}`, `Proposal ${id}`);
export const propose = (changes) => post("/proposals", "Not proposed.", JSON.stringify({ changes }));

// The open proposal after which no member has this name, or another one has it.
export const removalOf = (name) =>
  proposals.value.find(({ changes }) => changes.some((text) => text === `remove member ${name}` || text.startsWith(`replace member ${name} by `)));

const Vote = ({ id, what, word }) =>
  html`<button type="button" class="button small" onClick=${() => vote(id, what)} aria-label="${word} proposal ${id}">${word}</button>`;

// An accepted proposal that still waits can only be withdrawn, by its proposer.
function Votes({ proposal }) {
  const { id, proposer, approvals, against, needed } = proposal;
  const me = mesh.value.peer;
  const isOpen = approvals.length < needed;
  return html`<div class="votes">
    ${isOpen && !approvals.includes(me) ? html`<${Vote} id=${id} what="approve" word="Approve" />` : null}
    ${proposer === me
      ? html`<${Vote} id=${id} what="withdraw" word="Withdraw" />`
      : isOpen && !against.includes(me)
        ? html`<${Vote} id=${id} what="withdraw" word="Reject" />`
        : null}
  </div>`;
}

const Proposal = ({ proposal }) => html`<li>
  <p><b>${proposal.id}</b> ${proposal.proposer}: ${proposal.changes.join("; ")}</p>
  <p class="quiet">${proposal.state}${proposal.against.length ? `; against: ${proposal.against.join(", ")}` : ""}; open until ${as.day(proposal.ends)}</p>
  ${isAdmin.value && !isFollower.value ? html`<${Votes} proposal=${proposal} />` : null}
</li>`;

const Ended = () => html`<details class="more">
  <summary>Ended proposals</summary>
  <ul>
    ${endedProposals.value.slice(0, ENDED_MAX).map(
      ({ id, proposer, changes, outcome, time }) => html`<li key=${id}>
        <p><b>${id}</b> ${proposer}: ${changes.join("; ")}</p>
        <p class="quiet">${outcome.replace("_", " ")} at ${as.day(time)}</p>
      </li>`,
    )}
  </ul>
</details>`;

export const Proposals = () => html`${proposals.value.length ? html`<${Open} />` : null}
  ${endedProposals.value.length ? html`<section class="proposals" aria-label="Ended proposals"><${Ended} /></section>` : null}`;

function Open() {
  return html`<section class="proposals" aria-label="Open proposals">
    <h3>Proposals</h3>
    <ul>
      ${proposals.value.map((proposal) => html`<${Proposal} key=${proposal.id} proposal=${proposal} />`)}
    </ul>
  </section>`;
}
