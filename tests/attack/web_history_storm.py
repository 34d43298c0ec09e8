"""Forty strangers, each of a network of their own, ask a peer about its past without end.

Of candles, trades and orders as far back as the journal goes. Meanwhile somebody trades, and the
node goes on writing to its journal, whose write-ahead log must not grow because it is read.
"""

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections import Counter
from pathlib import Path

from peer.api import TradeView
from peer.journal import Journal
from peer.store import LOG_BYTES_MAX
from tests.web_gateway import Gateway, buy, running_gateway, sell, stand_in

MARKET = "BTC-USD"
KEY, MESH = b"k" * 32, b"m" * 16
STRANGERS = 40
TRADES_LONG, TRADES_SHORT = 2_000_000, 200_000
SECONDS_LONG, SECONDS_SHORT = 60.0, 6.0
STEP_MS = 300  # between two trades
BEGINS_MS = 1_700_000_000_000
ORDER_SECONDS_MAX = 2.0
LOG_GROWTH_MAX = 2 * LOG_BYTES_MAX
EXPECTED = {200, 401, 429, 503}  # none of them a failure


def attack(folder: Path, long: bool) -> str:
    count = TRADES_LONG if long else TRADES_SHORT
    path = folder / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    for first in range(1, count + 1, 20_000):
        journal.add_trades(MARKET, map(_trade, range(first, min(first + 20_000, count + 1))))
        journal.sync()
    rates = ("--account-rate", "100000", "--address-rate", "100000", "--history", str(path))
    with stand_in(folder) as node, running_gateway(node.where, folder, *rates) as gateway:
        node.trade_counts[MARKET] = count
        gateway.wait_ready()
        gateway.order(**sell("1", "1"))
        gateway.order(**buy("1", "1"))
        statuses, worst_s, log_bytes = _storm(gateway, journal, count, long)
    journal.close()
    assert set(statuses) <= EXPECTED, f"the strangers were answered {dict(statuses)}"
    assert min(statuses[200], statuses[503] + statuses[429]), f"no storm: {dict(statuses)}"
    assert worst_s < ORDER_SECONDS_MAX, f"an order took {worst_s:.1f} s"
    assert log_bytes < LOG_GROWTH_MAX, f"the write-ahead log has {log_bytes:,} bytes"
    return (
        f"{sum(statuses.values()):,} questions by {STRANGERS} strangers about {count:,} trades: "
        f"{dict(sorted(statuses.items()))}; the slowest order took {worst_s * 1000:.0f} ms, the "
        f"write-ahead log had {log_bytes >> 20} MiB"
    )


def _trade(number: int) -> TradeView:
    return TradeView(number, BEGINS_MS + number * STEP_MS, 100 + number % 7, 1, 0, 256, 512)


def _storm(
    gateway: Gateway, journal: Journal, count: int, long: bool
) -> tuple[Counter[int], float, int]:
    """How the strangers were answered, how long the slowest order took, and how large the log
    became."""
    over, statuses = threading.Event(), Counter[int]()
    strangers = [
        threading.Thread(target=_ask, args=(gateway, count, n, over, statuses), daemon=True)
        for n in range(STRANGERS)
    ]
    for stranger in strangers:
        stranger.start()
    numbers, worst_s, log_bytes = itertools.count(count + 2), 0.0, 0
    until = time.monotonic() + (SECONDS_LONG if long else SECONDS_SHORT)
    while (began := time.monotonic()) < until:
        assert gateway.order(**buy("1", "1"))["status"] == "open"
        worst_s = max(worst_s, time.monotonic() - began)
        journal.add_trades(MARKET, [_trade(next(numbers)) for _ in range(100)])
        journal.sync()
        log_bytes = max(log_bytes, (gateway.folder / "journal.db-wal").stat().st_size)
    over.set()
    for stranger in strangers:
        stranger.join(20)
    return statuses, worst_s, log_bytes


def _ask(
    gateway: Gateway, count: int, n: int, over: threading.Event, statuses: Counter[int]
) -> None:
    rng, address = random.Random(n), f"127.0.{n + 1}.1"
    while not over.is_set():
        before = rng.randrange(1, count)
        time_ms = BEGINS_MS + before * STEP_MS
        path = rng.choice(
            (
                f"/candles?interval={rng.choice((1, 60, 86_400))}&limit=1500&before={time_ms}",
                f"/trades?limit=1000&before={before}",
                f"/orders/1-{before}",
                "/ticker",
            )
        )
        connection = http.client.HTTPConnection(
            "127.0.0.1", gateway.port, timeout=20, source_address=(address, 0)
        )
        with contextlib.closing(connection), contextlib.suppress(TimeoutError):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
