// Small drawings for buttons: the same on every machine, as no font has to have them.
import { html } from "./html.js";

const SHAPES = {
  sun: ["M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 1 0 0-5.6z", "M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3.1 3.1l1.1 1.1M11.8 11.8l1.1 1.1M12.9 3.1l-1.1 1.1M4.2 11.8l-1.1 1.1"],
  moon: ["M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z"],
  help: ["M5.9 6a2.1 2.1 0 1 1 3.2 1.8c-.7.4-1.1.8-1.1 1.6", "M8 11.8v.1", "M8 1.6a6.4 6.4 0 1 0 0 12.8a6.4 6.4 0 1 0 0-12.8z"],
  person: ["M8 2.4a2.7 2.7 0 1 0 0 5.4a2.7 2.7 0 1 0 0-5.4z", "M2.8 14c.4-2.8 2.4-4.3 5.2-4.3s4.8 1.5 5.2 4.3"],
  settings: ["M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7", "M10.5 2.8a1.7 1.7 0 1 0 0 3.4a1.7 1.7 0 1 0 0-3.4z", "M5.5 9.8a1.7 1.7 0 1 0 0 3.4a1.7 1.7 0 1 0 0-3.4z"],
  close: ["M3.6 3.6l8.8 8.8M12.4 3.6l-8.8 8.8"],
  down: ["M4 6.2l4 4 4-4"],
  next: ["M6.2 4l4 4-4 4"],
};

export const Icon = ({ name }) => html`<svg class="drawing" viewBox="0 0 16 16" aria-hidden="true">
  ${SHAPES[name].map((path) => html`<path key=${path} d=${path} />`)}
</svg>`;
