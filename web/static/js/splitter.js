// The line between two panels: drag it, or move it with the arrow keys. Enter or a double click resets it.
import { html } from "./html.js";
import { resetSize, resize, sizeOf, SIZES } from "./layout.js";

const STEP_PX = 16;

// The named panel is on the right of the line, or below it.
export function Splitter({ name, label }) {
  const { min, max, now } = sizeOf(name);
  const flat = SIZES[name].along === "height";
  const drag = (down) => {
    if (down.button) return;
    const line = down.currentTarget;
    const [from, size] = [flat ? down.clientY : down.clientX, sizeOf(name).now];
    const move = (event) => resize(name, size + from - (flat ? event.clientY : event.clientX));
    const end = () => {
      line.removeEventListener("pointermove", move);
      line.classList.remove("dragged");
    };
    line.setPointerCapture(down.pointerId);
    line.classList.add("dragged");
    line.addEventListener("pointermove", move);
    line.addEventListener("lostpointercapture", end, { once: true });
  };
  const onKeyDown = (event) => {
    const step = { ArrowLeft: STEP_PX, ArrowUp: STEP_PX, ArrowRight: -STEP_PX, ArrowDown: -STEP_PX }[event.key];
    if (step) resize(name, sizeOf(name).now + step);
    else if (event.key === "Enter") resetSize(name);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div
    class="splitter of-${name} ${flat ? "flat" : ""}"
    role="separator"
    tabindex="0"
    aria-label=${label}
    aria-orientation=${flat ? "horizontal" : "vertical"}
    aria-valuemin=${min}
    aria-valuemax=${max}
    aria-valuenow=${now}
    title="Drag to resize; a double click resets"
    onPointerDown=${drag}
    onDblClick=${() => resetSize(name)}
    onKeyDown=${onKeyDown}
  ></div>`;
}
