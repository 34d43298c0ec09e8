// The page's colours for what is drawn on a canvas, in the theme that is on.
import { theme } from "./theme.js";

const probe = document.createElement("span");
probe.hidden = true;

let known = new Map(); // of one theme
let of = "";

export function color(name) {
  if (of !== theme.value) [known, of] = [new Map(), theme.value]; // whoever draws draws again when it changes
  if (!known.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}
