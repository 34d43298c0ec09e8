// One short sound, made here: no file is loaded.

const NOTES = [
  [880, 0],
  [1320, 0.09],
];
let audio = null;

export function chime() {
  audio ??= new AudioContext();
  audio.resume();
  for (const [frequency, after] of NOTES) {
    const at = audio.currentTime + after;
    const tone = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.12, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.16);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.17);
  }
}
