// Light or dark: the system's theme until the user chooses one.
import { computed, signal } from "@preact/signals";

const system = matchMedia("(prefers-color-scheme: light)");
const systemLight = signal(system.matches);
const chosen = signal(document.documentElement.dataset.theme ?? null);
system.addEventListener("change", () => (systemLight.value = system.matches));

export const theme = computed(() => chosen.value ?? (systemLight.value ? "light" : "dark"));

export function toggleTheme() {
  const next = theme.value === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next; // first: charts read the page's colours
  localStorage.setItem("theme", next);
  chosen.value = next;
}
