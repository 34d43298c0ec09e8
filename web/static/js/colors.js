// The page's colours for what is drawn on a canvas, in the theme that is on.
import { theme } from "./theme.js";

const probe = document.createElement("span");
probe.hidden = true;

export function color(name) {
  theme.value; // whoever draws draws again when it changes
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
