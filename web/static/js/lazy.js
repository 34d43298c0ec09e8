// A component whose module is loaded when it is first drawn. Draws nothing until then.
import { signal } from "@preact/signals";
import { html } from "./html.js";

// Loads the page anew if this peer has newer files by now: then the rest of this page is gone.
async function renew() {
  const { src } = document.querySelector("script[type=module]");
  const answer = await fetch(src, { method: "HEAD", cache: "no-store" }).catch(() => null);
  if (answer?.status === 404) location.reload();
}

export function lazy(load) {
  const loaded = signal(null); // in an object: a component is a function, too
  let asked = false;
  return (props) => {
    if (!asked) {
      asked = true;
      load().then(
        (component) => (loaded.value = { component }),
        () => {
          asked = false; // no connection: the next drawing asks again
          renew();
        },
      );
    }
    return loaded.value ? html`<${loaded.value.component} ...${props} />` : null;
  };
}
