// The dialog to trade with the browser's own key.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "./html.js";
import { ownAccount, whyNoKey } from "./keyring.js";
import { leaveOwnKey, useOwnKey, usesOwnKey } from "./store.js";

const isOpen = signal(false);
const problem = signal("");

export async function openOwnKey() {
  isOpen.value = true;
  problem.value = await whyNoKey();
}

async function use() {
  try {
    await useOwnKey();
    isOpen.value = false;
  } catch (error) {
    problem.value = error.message;
  }
}

function leave() {
  leaveOwnKey();
  isOpen.value = false;
}

const Words = () => html`
  <p>
    Orders of this account are signed in this browser with a key that only it has. Every peer checks the signature, so no
    peer can forge or change them. The page that signs comes from this peer, so use a peer that you trust.
  </p>
  <p>
    <strong>There is no backup.</strong> The key can't be copied out of this browser. If you clear this site's data, or
    use another browser or another address of this site, you get another key and another account. Open orders of the old
    account then stay until they trade or expire.
  </p>
`;

export function OwnKeyDialog() {
  const dialog = useRef(null);
  useEffect(() => {
    if (isOpen.value) dialog.current.showModal();
    else dialog.current.close();
  }, [isOpen.value]);
  const used = usesOwnKey.value && ownAccount.value;
  return html`<dialog class="help" ref=${dialog} aria-labelledby="own-key-title" onClose=${() => (isOpen.value = false)}>
    <h2 id="own-key-title">My own key</h2>
    ${used ? html`<p class="key-name">${used}</p>` : null}
    <${Words} />
    ${problem.value ? html`<p class="error" role="alert">${problem.value}</p>` : null}
    <form method="dialog">
      ${used
        ? html`<button type="button" class="button" onClick=${leave}>Trade without it</button>`
        : html`<button type="button" class="button" disabled=${Boolean(problem.value)} onClick=${use}>Use my own key</button>`}
      <button class="button">Close</button>
    </form>
  </dialog>`;
}
