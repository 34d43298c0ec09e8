// Whose orders this page sends: the account, and the browser's own key.
import { isReadOnly } from "./condition.js";
import { FOLLOWS } from "./following.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { ownAccount } from "./keyring.js";
import { Menu } from "./menu.js";
import { OwnKeyDialog, openOwnKey } from "./ownkey.js";
import { account, chooseAccount, isAdmin, isFollower, usesOwnKey } from "./store.js";

const KEY_START = "ed25519:".length;

// The name on the button.
const shownName = () => {
  if (usesOwnKey.value && ownAccount.value) return `key ${ownAccount.value.slice(KEY_START, KEY_START + 8)}…`;
  return isReadOnly.value ? "Read only" : account.value;
};

function choose(event) {
  const { value } = event.target;
  if (value && event.target.checkValidity()) chooseAccount(value);
  else event.target.value = account.value;
}

const Name = () => html`<label class="account">
  <span>Account</span>
  <input readonly=${!isAdmin.value} value=${account.value} maxlength="64" pattern="[A-Za-z0-9_.@:+\\-]+" spellcheck=${false} onChange=${choose} />
  <small class="quiet">${isAdmin.value ? "Orders belong to this name; this session may use any." : "Orders belong to this name."}</small>
</label>`;

function Content({ close }) {
  const used = usesOwnKey.value && ownAccount.value;
  const openDialog = () => {
    close();
    openOwnKey();
  };
  return html`
    ${isReadOnly.value
      ? html`<p>${isFollower.value ? FOLLOWS : "This page is read-only: it has no session that may trade."}</p>`
      : used
        ? html`<p>Orders are signed with this browser's key.</p><p class="key-name">${used}</p>`
        : html`<${Name} />`}
    <button class="button own-key" onClick=${openDialog}>My own key</button>
  `;
}

export const AccountMenu = () => html`<${Menu}
    id="account-menu"
    kind="account-choice ${isReadOnly.value ? "read-only" : ""}"
    label="Account"
    title=${usesOwnKey.value ? ownAccount.value : "Account"}
    button=${html`<${Icon} name="person" /><span class="account-name">${shownName()}</span>`}
    >${(close) => html`<${Content} close=${close} />`}<//
  >
  <${OwnKeyDialog} />`;
