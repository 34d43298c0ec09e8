// Short messages about recent events, which disappear by themselves.
import { signal } from "@preact/signals";
import { html } from "./html.js";

const SHOWN_MS = 5000;
const SHOWN_MAX = 4;
const toasts = signal([]);
let count = 0;

export function toast(kind, title, text = "") {
  const entry = { id: ++count, kind, title, text };
  toasts.value = [...toasts.value, entry].slice(-SHOWN_MAX);
  seen(() => setTimeout(() => dismiss(entry.id), SHOWN_MS));
}

// Calls `begin` once a person can see the page.
function seen(begin) {
  if (!document.hidden) begin();
  else document.addEventListener("visibilitychange", () => seen(begin), { once: true });
}

const dismiss = (id) => (toasts.value = toasts.value.filter((entry) => entry.id !== id));

export const Toasts = () => html`<div class="toasts" role="log" aria-live="polite">
  ${toasts.value.map(
    ({ id, kind, title, text }) => html`<div key=${id} class="toast ${kind}">
      <div><strong>${title}</strong> ${text}</div>
      <button class="icon" aria-label="Dismiss" onClick=${() => dismiss(id)}>×</button>
    </div>`,
  )}
</div>`;
