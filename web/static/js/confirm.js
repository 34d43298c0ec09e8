// The question before an order or a change that may be a mistake.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "./html.js";

const asked = signal(null); // { what, warnings, done }

// True while a question is open: another one is not asked.
export const isAsking = () => asked.peek() !== null;

// Whether the person wants it nevertheless. `what` in words, and the reasons to think again.
export async function confirmed(what, warnings) {
  if (isAsking()) return false;
  const answer = await new Promise((done) => (asked.value = { what, warnings, done }));
  asked.value = null;
  return answer;
}

export function Confirm() {
  const dialog = useRef(null);
  const { what, warnings = [], done } = asked.value ?? {};
  useEffect(() => {
    if (asked.value) dialog.current.showModal();
    else dialog.current.close();
  }, [asked.value]);
  return html`<dialog class="help confirm" ref=${dialog} aria-labelledby="confirm-title" onClose=${() => done?.(false)}>
    <h2 id="confirm-title">Send this order?</h2>
    <p><strong>${what}</strong></p>
    ${warnings.map((text) => html`<p key=${text} class="caution">${text}</p>`)}
    <p class="quiet">The limits for this question are in the settings.</p>
    <div class="buttons">
      <button type="button" class="button" onClick=${() => done(false)}>Back</button>
      <button type="button" class="button danger" onClick=${() => done(true)}>Send it</button>
    </div>
  </dialog>`;
}
