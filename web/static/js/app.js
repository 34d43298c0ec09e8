// The arrangement of the panels: side by side on a wide screen, one view at a time on a narrow one.
import { Charts } from "./charts.js";
import { condition } from "./condition.js";
import { Day, Header } from "./header.js";
import { Help } from "./help.js";
import { html } from "./html.js";
import { Ladder } from "./ladder.js";
import { bookTab, layout, sizeStyle, view } from "./layout.js";
import { MeshDrawer, MeshPanel, MeshStrip } from "./mesh.js";
import { OrdersPanel } from "./orders.js";
import { BestPrices } from "./quotes.js";
import { Splitter } from "./splitter.js";
import { Status } from "./status.js";
import { Tape } from "./tape.js";
import { Toasts } from "./toasts.js";
import { Trade } from "./trade.js";

const VIEWS = [
  ["book", "Book"],
  ["chart", "Chart"],
  ["orders", "Orders"],
  ["mesh", "Mesh"],
];

const Views = () => html`<nav class="views" aria-label="Panels">
  ${VIEWS.map(
    ([name, label]) => html`<button key=${name} aria-current=${view.value === name ? "page" : undefined} onClick=${() => (view.value = name)}>
      ${label}
    </button>`,
  )}
</nav>`;

const Book = () => (layout.value !== "wide" && bookTab.value === "trades" ? html`<${Tape} />` : html`<${Ladder} />`);

// Only the chosen view is drawn: what is not seen costs nothing.
const NARROW = {
  book: () => html`<${Book} /><${Trade} />`,
  chart: () => html`<${Charts} />`,
  orders: () => html`<${OrdersPanel} />`,
  mesh: () => html`<${MeshPanel} />`,
};

const Narrow = () => html`
  <section class="line-two" aria-label="State and last 24 hours">${condition.value.tone === "good" ? html`<${Day} />` : html`<${Status} />`}</section>
  <main class="panels narrow" data-view=${view.value}>${NARROW[view.value]()}</main>
  <${BestPrices} />
  <${Views} />
`;

const Wide = ({ wide }) => html`
  <main class="panels ${wide ? "wide" : "medium"}" style=${sizeStyle()}>
    <div class="column main">
      <${Charts} />
      <${Splitter} name="orders" label="Height of the orders" />
      <${OrdersPanel} />
    </div>
    <${Splitter} name="book" label="Width of the order book" />
    <${Book} />
    ${wide ? html`<${Splitter} name="tape" label="Width of the trades" /><${Tape} />` : null}
    <${Splitter} name="form" label="Width of the order form" />
    <div class="column side">
      <${Trade} />
      <${MeshStrip} />
    </div>
  </main>
  <${Status} />
`;

export const App = () => html`
  <div class="screen ${layout.value} ${condition.value.known ? "" : "unheard"}">
    <${Header} />
    ${layout.value === "narrow" ? html`<${Narrow} />` : html`<${Wide} wide=${layout.value === "wide"} />`}
    <${Toasts} />
    <${Help} />
    ${layout.value === "narrow" ? null : html`<${MeshDrawer} />`}
  </div>
`;
