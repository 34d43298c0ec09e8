// The rounds that each peer has gained lately, from the mesh's messages, two a second.
// Owns the last half minute. Draws no conclusions.
import { effect, signal } from "@preact/signals";
import { html } from "./html.js";
import { mesh } from "./store.js";

const SAMPLE_MS = 450; // messages come more often when the mesh changes
const SAMPLES = 60; // half a minute
const [BAR, GAP, HEIGHT] = [3, 1, 20];

let last = { at: -SAMPLE_MS, rounds: new Map() };
const samples = signal([]); // oldest first: rounds gained, by peer name; -1 while it was silent

effect(() => {
  const { peers } = mesh.value;
  const now = performance.now();
  if (!peers.length || now - last.at < SAMPLE_MS) return;
  const rounds = new Map(peers.map((peer) => [peer.name, peer.round]));
  const steps = new Map(
    peers.map((peer) => [peer.name, peer.alive ? Math.max(0, peer.round - (last.rounds.get(peer.name) ?? peer.round)) : -1]),
  );
  last = { at: now, rounds };
  samples.value = [...samples.peek(), steps].slice(-SAMPLES);
});

// One peer's lane: a bar for every half second, as high as the rounds gained; none while it was silent.
export function Pulse({ name, index }) {
  const most = Math.max(4, ...samples.value.flatMap((steps) => [...steps.values()]));
  const from = SAMPLES - samples.value.length;
  const bars = samples.value.map((steps, at) => {
    const step = steps.get(name) ?? -1;
    const high = step < 0 ? 0 : Math.max(1, (HEIGHT * step) / most);
    return `M${(from + at) * (BAR + GAP)} ${HEIGHT}v${-high.toFixed(1)}h${BAR}v${high.toFixed(1)}z`;
  });
  return html`<span title="Blocks of the last half minute; a gap means that the peer was silent">
    <svg class="pulse hue${index % 8}" viewBox="0 0 ${SAMPLES * (BAR + GAP)} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
      <path d=${bars.join("")} />
    </svg>
  </span>`;
}
