// Requests that the peer may refuse for a while, because too many clients ask about the past.
// Owns the retries, after the time that the peer names. Must never repeat a request that changes anything.

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
