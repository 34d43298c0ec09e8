// The help for keyboard and mouse.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { html } from "./html.js";

export const showHelp = signal(false);

export const KEYS = [
  ["B", "Buy"],
  ["S", "Sell"],
  ["L / M", "Limit or market order"],
  ["P / Q", "Go to the price or the quantity"],
  ["↑ / ↓", "In a field: one step up or down; with Shift ten"],
  ["Enter", "Send the order"],
  ["Esc", "Clear the form, close what is open"],
  ["X", "Cancel my newest open order"],
  ["Shift X", "Cancel all my orders of this market"],
  ["T", "Light or dark"],
  ["?", "This help"],
];

export function Help() {
  const dialog = useRef(null);
  useEffect(() => {
    if (showHelp.value) dialog.current.showModal();
    else dialog.current.close();
  }, [showHelp.value]);
  return html`<dialog class="help" ref=${dialog} aria-labelledby="help-title" onClose=${() => (showHelp.value = false)}>
    <h2 id="help-title">Keyboard</h2>
    <dl>
      ${KEYS.map(([key, text]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}
    </dl>
    <p class="quiet">
      A click on a price puts it into the form; on a quantity, its price and quantity; on a total, the whole
      quantity up to that price. With “One click” a click on a price sends an order with the form's quantity; Esc
      ends that. Drag the line between two panels to resize them; a double click on it resets that.
    </p>
    <form method="dialog"><button class="button">Close</button></form>
  </dialog>`;
}
