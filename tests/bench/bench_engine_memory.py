"""Memory of resting orders, and of an engine through which many have gone.

    python -m tests.bench.bench_engine_memory --orders 1000000

Orders come from the wire, in batches, from a thousand accounts, at 900 prices. Prints the bytes of
resident memory an order, the memory after as many orders again have come and gone twice, and the
size and times of digest, pieces and restore, which come last: what they free is not given back.
"""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from engine import Cancel, Command, Exchange, Market, Side, Submit
from tests import heap

PAGE_BYTES = 4096
BATCH = 1_000
MARKET = Market("BTC-USD", "0.01", "0.01", orders_max=2_000_000, orders_per_account_max=100_000)

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.Decoder(list[Command]).decode


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def order(id: int, price: int) -> Submit:
    side = Side.BUY if price < 10_000 else Side.SELL
    account = f"account {id % 1000}"
    return Submit(id, account, MARKET.symbol, side, 1_000 + id % 5_000, price)


def batches(commands: Iterator[Command]) -> Iterator[list[Command]]:
    batch: list[Command] = []
    for command in commands:
        batch.append(command)
        if len(batch) == BATCH:
            yield decode(encode(batch))
            batch = []
    yield decode(encode(batch))


def fill(exchange: Exchange, ids: range) -> None:
    for batch in batches(order(id, 9_550 + id * 7919 % 900) for id in ids):
        exchange.apply_batch(batch)


def empty(exchange: Exchange, ids: range) -> None:
    for batch in batches(Cancel(0, f"account {id % 1000}", id) for id in ids):
        exchange.apply_batch(batch)


@click.command()
@click.option("--orders", default=1_000_000)
def main(orders: int) -> None:
    """Measure, and print."""
    heap.refuse_if_broken()
    exchange = Exchange([MARKET])
    fill(exchange, range(1, 2_001))
    empty(exchange, range(1, 2_001))
    before = resident_bytes()
    began = time.perf_counter()
    fill(exchange, range(1, orders + 1))
    print(f"{orders:,} orders in {time.perf_counter() - began:.1f} s, decoding included")
    assert len(exchange.ledger.orders) == orders
    print(f"resting: {(resident_bytes() - before) / orders:.0f} bytes an order")
    began = time.perf_counter()
    exchange.digest()
    print(f"first digest: {time.perf_counter() - began:.2f} s")
    full = resident_bytes()
    print(f"with the pieces of the state: {(full - before) / orders:.0f} bytes an order")
    for turn in (1, 2):
        empty(exchange, range((turn - 1) * orders + 1, turn * orders + 1))
        fill(exchange, range(turn * orders + 1, (turn + 1) * orders + 1))
        exchange.digest()
        churned = resident_bytes()
        print(f"after {2 * turn * orders:,} more came or went: {(churned - full) / full:+.1%}")
    began = time.perf_counter()
    pieces = dict(exchange.pieces())
    size = sum(map(len, pieces.values()))
    print(f"{len(pieces):,} pieces: {size / orders:.0f} bytes an order")
    began = time.perf_counter()
    restored = Exchange.restore(pieces.items())
    print(f"restore: {time.perf_counter() - began:.2f} s")
    assert restored.digest() == exchange.digest()


if __name__ == "__main__":
    main()
