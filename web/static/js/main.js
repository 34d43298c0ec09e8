// Starts the page: draws it once and opens the connection. The components draw, the store has the state.
import { render } from "preact";
import { App } from "./app.js";
import { html } from "./html.js";
import { startKeys } from "./keys.js";
import { startNotices } from "./notices.js";
import { watchQueues } from "./queueplaces.js";
import { feed, spendLink } from "./store.js";

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
startKeys();
startNotices();
watchQueues();
spendLink()
  .catch(() => {}) // no connection: the token stays in the address, for another try
  .finally(() => feed.start());
