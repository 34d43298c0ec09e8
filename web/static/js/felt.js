// The answer to a tap on a price: what was tapped and the field that took it light up, and a phone that can
// shakes a little.
const LIT = [{ boxShadow: "inset 0 0 0 2px var(--accent)" }, { boxShadow: "inset 0 0 0 2px transparent" }];
const LIT_MS = 500;
const SHAKE_MS = 10;

export function felt(element) {
  if (navigator.userActivation?.isActive) navigator.vibrate?.(SHAKE_MS);
  element?.animate(LIT, LIT_MS);
  requestAnimationFrame(() => document.querySelector(".entry .input:has([name=price])")?.animate(LIT, LIT_MS));
}
