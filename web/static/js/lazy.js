// A component whose module is loaded when it is first drawn. Draws nothing until then.
import { signal } from "@preact/signals";
import { html } from "./html.js";

export function lazy(load) {
  const loaded = signal(null); // in an object: a component is a function, too
  let asked = false;
  return (props) => {
    if (!asked) {
      asked = true;
      load().then(
        (component) => (loaded.value = { component }),
        () => (asked = false), // no connection: the next drawing asks again
      );
    }
    return loaded.value ? html`<${loaded.value.component} ...${props} />` : null;
  };
}
