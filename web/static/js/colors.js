// The colours of the current theme, for drawing on a canvas.
import { theme } from "./theme.js";

const probe = document.createElement("span");
probe.hidden = true;

let known = new Map(); // colours of the theme `of`
let of = "";

export function color(name) {
  if (of !== theme.value) [known, of] = [new Map(), theme.value]; // charts redraw when the theme changes
  if (!known.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}
