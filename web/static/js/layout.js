// How the panels are arranged, and the sizes that the user has set.
// Owns both; the style sheets decide what a size means on a smaller window.
import { computed, signal } from "@preact/signals";
import { remembered } from "./remember.js";

const WIDE = matchMedia("(min-width: 1280px)");
const NARROW = matchMedia("(max-width: 700px), (max-width: 1000px) and (max-height: 560px)");

const wide = signal(WIDE.matches);
const narrow = signal(NARROW.matches);
WIDE.addEventListener("change", () => (wide.value = WIDE.matches));
NARROW.addEventListener("change", () => (narrow.value = NARROW.matches));

// wide: all panels side by side; medium: the trades are a tab of the book; narrow: one view at a time.
export const layout = computed(() => (narrow.value ? "narrow" : wide.value ? "wide" : "medium"));

// The view of a narrow screen.
export const view = signal("book");
// The tab of the book's panel, where the trades have no panel of their own.
export const bookTab = signal("book");
export const showMesh = signal(false); // the mesh view is open

// Name -> the usual size and the most, as shares of the window, and their limits in pixels.
export const SIZES = {
  book: { along: "width", least_px: 208, usual_px: 340, usual: 0.175, most: 0.26 },
  tape: { along: "width", least_px: 160, usual_px: 288, usual: 0.139, most: 0.2 },
  form: { along: "width", least_px: 216, usual_px: 340, usual: 0.17, most: 0.24 },
  orders: { along: "height", least_px: 112, usual_px: 400, usual: 0.3, most: 0.6 },
};

const chosen = remembered("sizes", {}); // name -> pixels
const viewport = signal({ width: innerWidth, height: innerHeight });
addEventListener("resize", () => (viewport.value = { width: innerWidth, height: innerHeight }));

// The least, the most and the present size of a panel, in pixels.
export function sizeOf(name) {
  const { along, least_px: least, usual_px: enough, usual, most } = SIZES[name];
  const whole = viewport.value[along];
  const max = Math.max(least, Math.round(whole * most));
  const wanted = chosen.value[name] ?? Math.min(enough, Math.round(whole * usual));
  return { min: least, max, now: Math.min(max, Math.max(least, wanted)) };
}

export function resize(name, pixels) {
  const { min, max } = sizeOf(name);
  chosen.value = { ...chosen.value, [name]: Math.round(Math.min(max, Math.max(min, pixels))) };
}

export function resetSize(name) {
  const { [name]: _, ...rest } = chosen.value;
  chosen.value = rest;
}

export const sizeStyle = () =>
  Object.keys(SIZES)
    .map((name) => `--${name}:${sizeOf(name).now}px`)
    .join(";");
