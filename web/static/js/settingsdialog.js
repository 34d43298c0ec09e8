// The dialog for the settings.
import { signal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { ACTIONS, bind, boundKey, keyLabel, keyOf, resetKeys } from "./bindings.js";
import { Choice } from "./choice.js";
import { html } from "./html.js";
import { confirmAway, confirmSlippage, confirmValue, density, palette, sounds, zone } from "./settings.js";
import { chime } from "./sound.js";

export const showSettings = signal(false);
const listening = signal(""); // the action whose next key is awaited

const ZONES = [
  ["local", "This machine's"],
  ["utc", "UTC"],
];
const DENSITIES = [
  ["normal", "Normal"],
  ["compact", "Compact"],
];
const PALETTES = [
  ["green", "Green and red"],
  ["blue", "Blue and orange"],
];
const SOUNDS = [
  ["off", "Off"],
  ["on", "On"],
];

function pickSound(name) {
  sounds.value = name === "on";
  if (sounds.value) chime();
}

const Line = ({ label, setting, options, onPick = (name) => (setting.value = name), value = setting.value }) => html`<div class="setting">
  <span>${label}</span>
  <${Choice} kind="small" label=${label} value=${value} options=${options} onPick=${onPick} />
</div>`;

function Limit({ label, setting, unit }) {
  const id = useId();
  const onChange = (event) => {
    const typed = Number(event.target.value);
    if (event.target.value !== "" && typed >= 0) setting.value = typed;
    else event.target.value = setting.value;
  };
  return html`<div class="setting">
    <label for=${id}>${label}</label>
    <span class="number"><input id=${id} type="number" min="0" step="any" value=${setting.value} onChange=${onChange} /> <span class="quiet">${unit}</span></span>
  </div>`;
}

function onKey(event) {
  const key = boundKey(event);
  if (!listening.value || (!key && event.key !== "Escape")) return;
  event.preventDefault();
  event.stopPropagation();
  if (key) bind(listening.value, key);
  listening.value = "";
}

const Keys = () => html`<details class="more keys">
  <summary>Keys</summary>
  ${ACTIONS.map(
    ([name, text]) => html`<div key=${name} class="setting">
      <span>${text}</span>
      <button class="button small" onClick=${() => (listening.value = name)}>
        <span class="hidden">Key for: ${text}: </span>
        ${listening.value === name ? "Press a key" : html`<kbd>${keyLabel(keyOf(name))}</kbd>`}
      </button>
    </div>`,
  )}
  <button class="button small" onClick=${resetKeys}>All as at first</button>
</details>`;

const Content = () => html`
  <${Line} label="Times" setting=${zone} options=${ZONES} />
  <${Line} label="Tables" setting=${density} options=${DENSITIES} />
  <${Line} label="Colours of buy and sell" setting=${palette} options=${PALETTES} />
  <${Line} label="Sound when an order fills" value=${sounds.value ? "on" : "off"} options=${SOUNDS} onPick=${pickSound} />
  <h3>Ask before sending an order</h3>
  <p class="quiet">0: do not ask.</p>
  <${Limit} label="Its value is above" setting=${confirmValue} unit="in the market's currency" />
  <${Limit} label="Its average is worse than the best price by" setting=${confirmSlippage} unit="%" />
  <${Limit} label="Its price is worse than the best price by" setting=${confirmAway} unit="%" />
  <${Keys} />
`;

export function SettingsDialog() {
  const dialog = useRef(null);
  useEffect(() => {
    if (showSettings.value) dialog.current.showModal();
    else dialog.current.close();
  }, [showSettings.value]);
  const onClose = () => {
    listening.value = "";
    showSettings.value = false;
  };
  return html`<dialog class="help settings" ref=${dialog} aria-labelledby="settings-title" onClose=${onClose} onKeyDown=${onKey}>
    <h2 id="settings-title" tabindex="-1" autofocus>Settings</h2>
    ${showSettings.value ? html`<${Content} />` : null}
    <div class="buttons"><button class="button" onClick=${() => dialog.current.close()}>Close</button></div>
  </dialog>`;
}
