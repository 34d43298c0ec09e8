// Who may become a member: the keys in open proposals, and whether each has shown that it has the state.
import { condition } from "./condition.js";
import { grouped } from "./decimal.js";
import { html } from "./html.js";
import { mesh } from "./store.js";

const KEY_SHOWN = 16;

// What a candidate has shown of the state, in words.
function progressOf({ shown, boundary }) {
  if (shown === null) return boundary === null ? "No state to show yet" : `Has not shown the state after commit ${grouped(boundary)} yet`;
  const behind = boundary - shown;
  return `Has shown the state after commit ${grouped(shown)}${behind > 0 ? `, ${grouped(behind)} before the newest` : ", the newest"}`;
}

const Candidate = ({ candidate }) => html`<li>
  <p><b>${candidate.name}</b> <code title=${candidate.key}>${candidate.key.slice(0, KEY_SHOWN)}</code> <span class="quiet">by proposal ${candidate.proposal}</span></p>
  <p class="quiet">${condition.value.known ? progressOf(candidate) : "Not known now"}</p>
  ${candidate.boundary ? html`<progress max=${candidate.boundary} value=${candidate.shown ?? 0} aria-label="State shown by ${candidate.name}"></progress>` : null}
</li>`;

export function Candidates() {
  const { candidates = [], catching_up: missing, halted } = mesh.value;
  return html`${missing && !halted ? html`<p class="missing" role="status">This peer catches up: ${missing}</p>` : null}
    ${candidates.length
      ? html`<section class="proposals" aria-label="Candidates">
          <h3>Candidates</h3>
          <ul>
            ${candidates.map((candidate) => html`<${Candidate} key=${candidate.key} candidate=${candidate} />`)}
          </ul>
        </section>`
      : null}`;
}
