// The help for keyboard and mouse, and the other dialogs of a trader.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ACTIONS, keyLabel, keyOf } from "./bindings.js";
import { Confirm } from "./confirm.js";
import { html } from "./html.js";
import { SettingsDialog, showSettings } from "./settingsdialog.js";

export const showHelp = signal(false);

const FIXED = [
  ["↑ / ↓", "In a field: one step up or down; with Shift ten"],
  ["Enter", "Send the order"],
  ["Esc", "Clear the form, close what is open"],
];

function toSettings() {
  showHelp.value = false;
  showSettings.value = true;
}

function Keys() {
  const keys = [...ACTIONS.map(([name, text]) => [keyLabel(keyOf(name)), text]), ...FIXED];
  return html`<dl>
    ${keys.map(([key, text]) => html`<div key=${text}><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}
  </dl>`;
}

export function Help() {
  const dialog = useRef(null);
  useEffect(() => {
    if (showHelp.value) dialog.current.showModal();
    else dialog.current.close();
  }, [showHelp.value]);
  return html`<dialog class="help keyboard" ref=${dialog} aria-labelledby="help-title" onClose=${() => (showHelp.value = false)}>
      <h2 id="help-title" tabindex="-1" autofocus>Keyboard</h2>
      ${showHelp.value ? html`<${Keys} />` : null}
      <p class="quiet">
        A click on a price puts it into the form; on a quantity, its price and quantity; on a total, the whole
        quantity up to that price. With “One click” a click on a price sends an order with the form's quantity; Esc
        ends that. Drag the line between two panels to resize them; a double click on it resets that.
      </p>
      <div class="buttons">
        <button class="button" onClick=${toSettings}>Settings</button>
        <button class="button" onClick=${() => (showHelp.value = false)}>Close</button>
      </div>
    </dialog>
    <${SettingsDialog} />
    <${Confirm} />`;
}
