// The place of the order form. A page that can't trade says so here, and how it could.
import { isReadOnly } from "./condition.js";
import { Entry } from "./entry.js";
import { KeyNeeded } from "./following.js";
import { html } from "./html.js";
import { openOwnKey } from "./ownkey.js";
import { isFollower, session } from "./store.js";

const ReadOnly = () => html`<div class="notice" role="note" aria-label="Read only">
  <strong>Read only</strong>
  ${location.search.includes("link=used") ? html`<p>That link was used already, or is too old.</p>` : null}
  <p>To trade, use a key of your own, or open a link that this peer's operator prints:</p>
  <p><code>python -m peer keys DATA link NAME</code></p>
  <button class="button" onClick=${openOwnKey}>Use this browser's key</button>
</div>`;

// Until the session is known, the form has no place: it would move when the notice comes.
export const Trade = () =>
  session.value === null
    ? html`<div class="trade-place"><p class="nothing">The order form appears when this peer answers.</p></div>`
    : html`<div class="trade-place ${isReadOnly.value ? "read-only" : ""}">
  ${isReadOnly.value ? (isFollower.value ? html`<${KeyNeeded} />` : html`<${ReadOnly} />`) : null}
  <div class="trade-form" inert=${isReadOnly.value}><${Entry} /></div>
</div>`;
