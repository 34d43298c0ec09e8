// A button that opens a small panel below the header; a click elsewhere or Esc closes it.
import { useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { Icon } from "./icons.js";

// `children` is called with a function that closes the panel, and drawn only while it is open.
export function Menu({ id, kind, button, title, label, children }) {
  const panel = useRef(null);
  const [open, setOpen] = useState(false);
  const close = () => panel.current.hidePopover();
  const onKeyDown = (event) => event.key === "Escape" && (event.stopPropagation(), close());
  return html`<button class="menu-button ${kind}" popovertarget=${id} aria-expanded=${open ? "true" : "false"} title=${title}>
      ${button}<${Icon} name="down" />
    </button>
    <div class="menu ${kind}" id=${id} popover ref=${panel} role="dialog" aria-label=${label} onToggle=${(event) => setOpen(event.newState === "open")} onKeyDown=${onKeyDown}>
      ${open ? children(close) : null}
    </div>`;
}
