"""Forty strangers, each in its own network, ask a peer about its past without end.

They ask for candles, trades and orders as far back as the journal goes. Meanwhile a client trades,
and the node writes to its journal, whose write-ahead log must not grow because of the reading.
"""

import functools
import http.client
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from multiprocessing.synchronize import Event
from pathlib import Path

from peer.replica.trade import MarketTrade
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.database import LOG_BYTES_MAX
from peer.storage.journal import Journal
from tests.support.web_crowd import CROWD, crowd, trade
from tests.support.web_gateway import buy, running_gateway, sell, stand_in

MARKET = "BTC-USD"
KEY, MESH = b"k" * 32, b"m" * 16
TRADES_LONG, TRADES_SHORT = 2_000_000, 200_000
SECONDS_LONG, SECONDS_SHORT = 60.0, 6.0
STEP_MS = 300  # between two trades
BEGINS_MS = 1_700_000_000_000
WRITE_SECONDS = 0.005  # between two turns of the node
LOG_GROWTH_MAX = 2 * LOG_BYTES_MAX
EXPECTED = {"200", "401", "429", "503"}  # none of them a failure


def attack(folder: Path, long: bool) -> str:
    count = TRADES_LONG if long else TRADES_SHORT
    path = folder / JOURNAL_FILE
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    for first in range(1, count + 1, 20_000):
        journal.history.add_trades(
            MARKET, map(_trade, range(first, min(first + 20_000, count + 1)))
        )
        journal.settle()
    rates = ("--account-rate", "100000", "--address-rate", "100000")
    with stand_in(folder) as node, running_gateway(folder, *rates) as gateway:
        node.trade_counts[MARKET] = count
        gateway.wait_ready()
        gateway.order(**sell("1", "1"))
        gateway.order(**buy("1", "1"))
        alone = trade(gateway)
        ask = functools.partial(stranger, count)
        with crowd(gateway.port, ask) as statuses, ThreadPoolExecutor(1) as pool:
            trading = pool.submit(trade, gateway, SECONDS_LONG if long else SECONDS_SHORT)
            log_bytes = _write_until(trading.done, journal, folder, count + 2)
        asked = f"{CROWD} strangers that ask about {count:,} trades"
        told = trading.result().beside(asked, alone, gateway)
    journal.close()
    assert {*statuses} <= EXPECTED, f"the strangers were answered {dict(statuses)}"
    assert min(statuses["200"], statuses["503"] + statuses["429"]), f"no storm: {dict(statuses)}"
    assert log_bytes < LOG_GROWTH_MAX, f"the write-ahead log has {log_bytes:,} bytes"
    return f"{dict(sorted(statuses.items()))}, a log of {log_bytes >> 20} MiB; {told}"


def _trade(number: int) -> MarketTrade:
    return MarketTrade(number, BEGINS_MS + number * STEP_MS, 100 + number % 7, 1, 0, 256, 512)


def _write_until(over: Callable[[], bool], journal: Journal, folder: Path, first: int) -> int:
    """Write trades as the node does, from this number on; returns the log's largest size."""
    numbers, most = itertools.count(first), 0
    while not over():
        journal.history.add_trades(MARKET, [_trade(next(numbers)) for _ in range(100)])
        journal.settle()
        most = max(most, (folder / "journal.db-wal").stat().st_size)
        time.sleep(WRITE_SECONDS)
    return most


def stranger(count: int, port: int, n: int, over: Event, statuses: Counter[str]) -> None:
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
            "127.0.0.1", port, timeout=20, source_address=(address, 0)
        )
        with closing(connection), suppress(TimeoutError):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses[str(response.status)] += 1
