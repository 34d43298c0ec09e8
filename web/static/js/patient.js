// Questions that the peer may have to put off: too many ask it about the past.
// Owns the wait, as long as the peer says. Must never repeat what changes something.

const TRIES_MAX = 5;
const WAIT_S_MAX = 10;
const PUT_OFF = [429, 503];

const rest = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

export async function ask(path) {
  for (let tries = 1; ; tries++) {
    const response = await fetch(path);
    const seconds = Number(response.headers.get("Retry-After"));
    if (!PUT_OFF.includes(response.status) || !seconds || tries >= TRIES_MAX) return response;
    await rest(Math.min(seconds, WAIT_S_MAX) * (0.75 + Math.random() / 2)); // not all at once
  }
}
