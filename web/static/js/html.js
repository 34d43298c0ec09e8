// The one place where htm meets preact.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
