// A group of options of which one is chosen. Tab reaches the chosen one, arrow keys choose.
import { html } from "./html.js";

const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

export function chooseByKey(event) {
  const all = [...event.currentTarget.querySelectorAll("button:enabled")];
  const at = all.indexOf(document.activeElement);
  const to = { Home: 0, End: all.length - 1 }[event.key] ?? (at + STEPS[event.key] + all.length) % all.length;
  if (at < 0 || !all[to]) return;
  event.preventDefault();
  all[to].focus();
  all[to].click();
}

export const stop = (isChosen) => (isChosen ? 0 : -1);

// `options` are rows of name, text and perhaps a title.
export const Choice = ({ value, options, label, onPick, kind }) => html`<div class="choice ${kind}" role="radiogroup" aria-label=${label} onKeyDown=${chooseByKey}>
  ${options.map(
    ([name, text, title]) => html`<button
      key=${name}
      type="button"
      role="radio"
      class=${name}
      title=${title}
      tabindex=${stop(value === name)}
      aria-checked=${value === name ? "true" : "false"}
      onClick=${() => onPick(name)}
    >
      ${text}
    </button>`,
  )}
</div>`;
