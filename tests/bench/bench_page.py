"""How smooth the page stays while the book changes a thousand times a second.

    python -m tests.bench.bench_page --rate 1000 --seconds 10

A stand-in publishes that many level changes a second, and trades; a real gateway sends them to the
page in headless Chromium, which draws in software. Prints the times between the page's frames, what
its main thread was busy with, and how many messages and levels reached it.
"""

import random
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import CDPSession, Page

from peer.client.endpoint import FOLDER, Endpoint, endpoint
from peer.client.protocol import MarketUpdate, topic
from peer.replica.trade import MarketTrade
from tests.bench.bench_web import Publisher
from tests.bench.measuring import percentile
from tests.support.browser import WIDE, running_chromium
from tests.support.web_gateway import Gateway, running_gateway

MIDDLE = 6_725_000
LOT = 100_000_000
DEPTH = 200  # levels a side
PER_UPDATE = 4  # levels a side that one update changes
TRADES_EVERY = 10  # updates
LATE_MS = 33  # two frames at 60 a second

# Notes when frames are drawn, and what comes over the socket.
WATCH = """
window.seen = { frames: [], messages: 0, levels: 0 };
const Plain = WebSocket;
window.WebSocket = class extends Plain {
  constructor(...all) {
    super(...all);
    this.addEventListener("message", (event) => {
      seen.messages++;
      const { channel, bids, asks } = JSON.parse(event.data);
      if (channel === "book") seen.levels += bids.length + asks.length;
    });
  }
};
(function frame(now) {
  seen.frames.push(now);
  requestAnimationFrame(frame);
})(performance.now());
"""


class BusyBook(Publisher):
    """`rate` updates a second, each of 2 * PER_UPDATE levels near the middle."""

    def __init__(self, where: Endpoint, rate: float) -> None:
        super().__init__(where, rate)
        self._rng = random.Random(3)
        self.trades = 0

    def _level(self, sign: int) -> tuple[int, int, int]:
        away = 1 + min(DEPTH - 1, int(self._rng.expovariate(1 / 20)))
        return MIDDLE + sign * away * 7, self._rng.randrange(1, 300) * LOT // 100, 1

    def _change(self) -> None:
        self.sent += 1
        now_ms = time.time_ns() // 1_000_000
        bids, asks = ([self._level(sign) for _ in range(PER_UPDATE)] for sign in (-1, 1))
        trades = []
        if self.sent % TRADES_EVERY == 0:
            self.trades += 1
            price = MIDDLE + self._rng.randrange(-30, 30)
            trades = [MarketTrade(self.trades, now_ms, price, LOT // 8, self.sent % 2, 256, 257)]
        shares = [[(self.sent % 3, level[1], 1)] for level in bids]
        update = MarketUpdate("BTC-USD", 0, self.sent, now_ms, bids, asks, trades, shares, shares)
        self.publish(update, topic("market", "BTC-USD"))
        self.publish(self._committed(now_ms), "commit")


def busy_s(devtools: CDPSession) -> dict[str, float]:
    """Processor seconds of the page's main thread so far."""
    found = {m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}
    names = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration", "TaskDuration")
    return {name: found[name] for name in names}


def measure(page: Page, gateway: Gateway, book: BusyBook, seconds: float) -> None:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(gateway.link())
    page.locator(".health.live").wait_for()
    book.go.set()
    page.wait_for_timeout(2_000)
    page.evaluate("seen.frames = []; seen.messages = seen.levels = 0")
    before = busy_s(devtools)
    page.wait_for_timeout(seconds * 1000)
    after = busy_s(devtools)
    book.go.clear()
    report(page.evaluate("seen"), {name: after[name] - before[name] for name in after}, seconds)
    click.echo(page.locator(".health").get_attribute("title") or "")


def report(seen: Any, busy: dict[str, float], seconds: float) -> None:
    frames = seen["frames"]
    gaps = [b - a for a, b in pairwise(frames)]
    late = sum(gap > LATE_MS for gap in gaps) / len(gaps)
    click.echo(
        f"a second: {seen['levels'] / seconds:.0f} level changes, "
        f"{seen['messages'] / seconds:.0f} messages, {len(gaps) / seconds:.0f} frames"
    )
    p50, p99 = (percentile(gaps, percent) for percent in (50, 99))
    click.echo(f"frame time p50 {p50:.1f} ms, p99 {p99:.1f} ms; {late:.1%} over {LATE_MS} ms")
    shares = ", ".join(f"{name[:-8]} {value / seconds:.0%}" for name, value in busy.items())
    click.echo(f"main thread, of a core: {shares}")
    click.echo(f"script for one message: {1000 * busy['ScriptDuration'] / seen['messages']:.2f} ms")


@click.command()
@click.option("--rate", default=1000.0, show_default=True, help="Level changes a second.")
@click.option("--seconds", default=10.0, show_default=True)
def main(rate: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, running_chromium() as browser:
        folder = Path(name)
        (folder / FOLDER).mkdir(mode=0o700)
        book = BusyBook(endpoint(folder), rate / (2 * PER_UPDATE))
        book.start()
        page = browser.new_page(viewport=WIDE)
        page.add_init_script(WATCH)
        with running_gateway(folder) as gateway:
            measure(page, gateway.wait_ready(), book, seconds)
        book.done.set()
        book.join()


if __name__ == "__main__":
    main()
