// The layout of the panels. A narrow screen shows one panel at a time, chosen by tabs.
import { signal } from "@preact/signals";
import { Banners } from "./banners.js";
import { Charts } from "./charts.js";
import { Entry } from "./entry.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { html } from "./html.js";
import { Ladder } from "./ladder.js";
import { MeshPanel } from "./mesh.js";
import { OrdersPanel } from "./orders.js";
import { Tape } from "./tape.js";
import { Toasts } from "./toasts.js";

export const view = signal("book");

const VIEWS = [
  ["book", "Book"],
  ["trade", "Trade"],
  ["chart", "Chart"],
  ["orders", "Orders"],
  ["mesh", "Mesh"],
];

const Tabs = () => html`
  <nav class="tabs" aria-label="Panels">
    ${VIEWS.map(
      ([name, label]) => html`<button
        key=${name}
        class="tab"
        aria-current=${view.value === name ? "page" : undefined}
        onClick=${() => (view.value = name)}
      >
        ${label}
      </button>`,
    )}
  </nav>
`;

export const App = () => html`
  <div class="screen" data-view=${view.value}>
    <${Header} />
    <${Banners} />
    <main class="panels">
      <${Charts} />
      <${Ladder} />
      <${Tape} />
      <${Entry} />
      <${OrdersPanel} />
      <${MeshPanel} />
    </main>
    <${Tabs} />
    <${Toasts} />
    <${Help} />
  </div>
`;
