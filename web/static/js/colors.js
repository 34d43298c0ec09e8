// The colours of the current theme, for drawing on a canvas.
import { palette } from "./settings.js";
import { theme } from "./theme.js";

const probe = document.createElement("span");
probe.hidden = true;

let known = new Map(); // colours of the theme and palette `of`
let of = "";

export function color(name) {
  const now = `${theme.value} ${palette.value}`; // charts redraw when it changes
  if (of !== now) [known, of] = [new Map(), now];
  if (!known.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}
