// The question before something that may be a mistake: an order, a change, a proposal.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "./html.js";

const asked = signal(null); // { what, warnings, title, hint, yes, done }
const ORDER = { title: "Send this order?", hint: "The limits for this question are in the settings.", yes: "Send it" };

// True while a question is open: another one is not asked.
export const isAsking = () => asked.peek() !== null;

// Whether the person wants it nevertheless. `what` in words, and the reasons to think again.
// `more` has other words than those for an order.
export async function confirmed(what, warnings, more = ORDER) {
  if (isAsking()) return false;
  const answer = await new Promise((done) => (asked.value = { ...more, what, warnings, done }));
  asked.value = null;
  return answer;
}

export function Confirm() {
  const dialog = useRef(null);
  const { title, what, warnings = [], hint, yes, done } = asked.value ?? ORDER;
  useEffect(() => {
    if (asked.value) dialog.current.showModal();
    else dialog.current.close();
  }, [asked.value]);
  return html`<dialog class="help confirm" ref=${dialog} aria-labelledby="confirm-title" onClose=${() => done?.(false)}>
    <h2 id="confirm-title">${title}</h2>
    <p><strong>${what}</strong></p>
    ${warnings.map((text) => html`<p key=${text} class="caution">${text}</p>`)}
    <p class="quiet">${hint}</p>
    <div class="buttons">
      <button type="button" class="button" onClick=${() => done(false)}>Back</button>
      <button type="button" class="button danger" onClick=${() => done(true)}>${yes}</button>
    </div>
  </dialog>`;
}
