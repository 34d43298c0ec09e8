// Tabs: Tab reaches the chosen one, arrow keys choose.
import { chooseByKey, stop } from "./choice.js";
import { html } from "./html.js";

// Each tab has the id `prefix`-tab-name and shows the element with the id `shows`.
export const Tabs = ({ value, options, label, onPick, prefix, shows }) => html`<div class="tablist" role="tablist" aria-label=${label} onKeyDown=${chooseByKey}>
  ${options.map(
    ([name, text]) => html`<button
      key=${name}
      type="button"
      role="tab"
      id="${prefix}-tab-${name}"
      tabindex=${stop(value === name)}
      aria-selected=${value === name ? "true" : "false"}
      aria-controls=${shows}
      onClick=${() => onPick(name)}
    >
      ${text}
    </button>`,
  )}
</div>`;
