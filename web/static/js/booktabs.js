// The tabs of the book's panel where the trades have no panel of their own.
import { Choice } from "./choice.js";
import { html } from "./html.js";
import { bookTab } from "./layout.js";

const TABS = [
  ["book", "Book"],
  ["trades", "Trades"],
];

export const BookTabs = () => html`<${Choice} kind="plain book-tabs" label="Book or trades" value=${bookTab.value} options=${TABS} onPick=${(name) => (bookTab.value = name)} />`;
