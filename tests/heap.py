"""Heap checks: orders that go by the thousand, in every way, under Python's debug allocator.

    python -m tests.heap --orders 1000000            as the engine is: plain, or compiled

Owns the ways. Each holds all orders while they leave and lets go of them at once, which is when a
dead order that still refers to another one makes freeing a chain of calls, and when compiled code
that frees wrongly has written over its neighbour's memory. They run on a thread with a small stack,
and count the blocks of memory before and after. A benchmark of a compiled engine starts with
`refuse_if_broken`: the figures of an engine that breaks the heap are worth nothing.
"""

import contextlib
import faulthandler
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from engine import (
    Cancel,
    CancelAll,
    Command,
    Exchange,
    Market,
    OrderType,
    Replace,
    SelfTrade,
    Side,
    SnapshotError,
    Submit,
    TimeInForce,
    disposal,
    why_plain,
)
from engine.native.build import MODULES
from peer.consensus.committer import CHECKPOINT_EVERY
from tests.support.pieces import Life, rebuilt
from tests.support.rows import FIELDS, packed, unpacked

ROOT = Path(__file__).parents[1]
BUILDS = ("plain", "compiled")
STACK_BYTES = 128 * 1024
ROOMY_STACK_BYTES = 16 * 2**20  # CPython 3.13 needs more than half of it for NESTED
NESTED = (10, 40, 46, 47, 48, 49, 50, 51, 52, 60, 200, 20_000)
LEFT_MAX = 2_000  # blocks of memory: caches that have grown
MARKET = Market("X", "1", "1", orders_per_account_max=2_000_000, orders_max=2_000_000)
OP = 2**40  # ids of commands that are no orders


def submits(count: int, **command: Any) -> list[Submit]:
    return [
        Submit(id, "ann", "X", Side.BUY, 5, **({"price": 100} | command))
        for id in range(1, count + 1)
    ]


def filled(count: int, **command: Any) -> Exchange:
    """An exchange in which `count` orders rest or wait."""
    exchange = Exchange([MARKET])
    exchange.apply_batch(submits(count, **command))
    assert len(exchange.orders) == count
    return exchange


def go(exchange: Exchange, command: Command) -> None:
    """All orders leave by `command`, held until it is done."""
    held = list(exchange.orders.values())
    events = exchange.apply(command)
    assert len(events) >= len(held)
    assert all(order.id not in exchange.orders for order in held)
    del held


def cancelled_at_once(count: int) -> None:
    go(filled(count), CancelAll(OP, "ann"))


def cancelled_one_by_one(count: int) -> None:
    for ids in (range(1, count + 1), range(count, 0, -1)):
        exchange = filled(count)
        held = list(exchange.orders.values())
        exchange.apply_batch([Cancel(OP, "ann", id) for id in ids])
        del held


def filled_by_one(count: int) -> None:
    go(filled(count), Submit(OP, "bob", "X", Side.SELL, 5 * count, 100))


def taken_from_itself(count: int) -> None:
    taker = Submit(OP, "ann", "X", Side.SELL, 5, 100, self_trade=SelfTrade.CANCEL_RESTING)
    go(filled(count), taker)


def expired(count: int) -> None:
    exchange = filled(count, tif=TimeInForce.GTD, expire_ms=9)
    held = list(exchange.orders.values())
    assert len(exchange.advance(9)) == count
    del held


def triggered(count: int) -> None:
    exchange = filled(count, price=0, type=OrderType.STOP, stop_price=90)
    held = list(exchange.orders.values())
    exchange.apply(Submit(OP, "bob", "X", Side.SELL, 5, 95))
    exchange.apply(Submit(OP + 1, "cyd", "X", Side.BUY, 5, 95))
    assert not exchange.orders
    del held


def replaced(count: int) -> None:
    exchange = filled(count)
    held = list(exchange.orders.values())
    exchange.apply_batch([Replace(OP, "ann", id, 101) for id in range(1, count + 1)])
    exchange.apply(CancelAll(OP, "ann"))
    del held


def dropped_in_one_queue(count: int) -> None:
    filled(count)


def dropped_on_many_levels(count: int) -> None:
    exchange = Exchange([MARKET])
    exchange.apply_batch(
        [Submit(id, f"account {id % 997}", "X", Side.BUY, 5, id) for id in range(1, count + 1)]
    )


def dropped_and_released_in_parts(count: int) -> None:
    exchange = filled(count)
    other = Exchange([MARKET])
    del exchange
    for time_ms in range(1, count // 10_000 + 3):
        other.advance(time_ms)
    assert len(disposal._watched) == 1


def found_gone_at_the_recursion_limit(count: int) -> None:
    """By the collector, where no Python function can be called any more."""

    def deep() -> None:
        try:
            deep()
        except RecursionError:  # the collector is in C, and can be called; its callbacks can't
            gc.collect()

    exchange: Any = filled(count)
    exchange.itself = exchange
    gc.collect()
    gc.disable()
    try:
        del exchange
        deep()
    finally:
        gc.enable()
    assert None in [each() for each in disposal._watched]


def restored_in_vain(count: int) -> None:
    """The last order is one that can't be there."""
    *pieces, (key, piece), head = filled(count).pieces()
    rows = unpacked(key, piece)
    rows[-1][1][FIELDS.index("side")] = Side.SELL
    with contextlib.suppress(SnapshotError):
        Exchange.restore([*pieces, (key, packed(rows)), head])
        raise AssertionError("it was restored")


def freed_deep_inside_others(count: int) -> None:
    """What is freed inside many others CPython puts off, by a field that not all objects have."""
    for depth in NESTED:
        exchange = filled(3)
        held = [list(exchange.orders.values())]
        held.append([order.level for order in held[0]])
        held.append([order.owner for order in held[0]])
        exchange.apply(CancelAll(OP, "ann"))
        nest: Any = [held, filled(3)]
        del held, exchange
        for _ in range(depth):
            nest = [nest]
        del nest


def applied_and_restored_by_replicas(count: int) -> None:
    """As peers do: batches of all kinds, digests, states at checkpoints, and one that goes on."""
    life = Life()
    for _ in range(2):
        for _ in range(CHECKPOINT_EVERY):
            life.commit(max(2, count // 1_000))
        left, life.replica = life.replica, rebuilt(life.replica)
        assert left.latest().digest == life.replica.latest().digest
        life.replica.exchange.check()


WAYS: tuple[Callable[[int], None], ...] = (
    cancelled_at_once,
    cancelled_one_by_one,
    filled_by_one,
    taken_from_itself,
    expired,
    triggered,
    replaced,
    dropped_in_one_queue,
    dropped_on_many_levels,
    dropped_and_released_in_parts,
    found_gone_at_the_recursion_limit,
    restored_in_vain,
    freed_deep_inside_others,
    applied_and_restored_by_replicas,
)


def left_by(way: Callable[[int], None], count: int) -> int:
    """Blocks of memory that are not given back."""

    def blocks() -> int:
        gc.collect()  # a replica is in cycles, and holds an exchange
        disposal.release()
        gc.collect()
        return sys.getallocatedblocks()

    way(60)
    before = blocks()
    way(count)
    return blocks() - before


def on_a_stack_of(size: int, way: Callable[[int], None], count: int) -> int:
    """`left_by` on a thread of its own."""
    threading.stack_size(size)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(left_by, way, count).result()


def is_compiled() -> bool:
    """Whether all modules that are to be compiled are. AssertionError if only some are."""
    names = [name.removesuffix(".py").replace("/", ".") for name in MODULES]
    files = [str(import_module(name).__file__) for name in names]
    kinds = {file.endswith(".py") for file in files}
    assert len(kinds) == 1, files
    return kinds == {False}


def faults(count: int = 5_000, root: Path = ROOT, compiled: bool | None = None) -> str:
    """What the checks find with the engine in `root`, which is `compiled`; empty: nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.heap", "--orders", str(count)],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
    )
    said = f"{done.stdout}{done.stderr}"
    if done.returncode:
        return f"{said}\nended with {done.returncode}"
    if compiled is not None and f"{BUILDS[compiled]} engine" not in said:
        return f"{said}\nexpected the {BUILDS[compiled]} engine"
    return ""


def refuse_if_broken() -> None:
    """End the program if the engine is compiled, and wrongly: a benchmark begins with this."""
    if is_compiled() and (found := faults(compiled=True)):
        sys.exit(f"{found}\nthis compiled engine breaks the heap: no figures")


@click.command()
@click.option("--orders", "count", default=5_000, show_default=True)
@click.option("--compiled", is_flag=True, help="Fail if the engine is plain.")
@click.option("--way", "names", multiple=True, type=click.Choice([way.__name__ for way in WAYS]))
def main(count: int, compiled: bool, names: tuple[str, ...]) -> None:
    """Let orders go in every way; prints a line a way."""
    if compiled and not is_compiled():
        sys.exit(f"expected a compiled engine: {why_plain}")
    faulthandler.enable()
    for way in WAYS:
        if not names or way.__name__ in names:
            size = ROOMY_STACK_BYTES if way is freed_deep_inside_others else STACK_BYTES
            left = on_a_stack_of(size, way, count)
            assert left < LEFT_MAX, f"{way.__name__}: {left} blocks of memory are left"
            print(f"{way.__name__.replace('_', ' ')}: {left} blocks left", flush=True)
    print(f"{BUILDS[is_compiled()]} engine: the heap is whole")


if __name__ == "__main__":
    main(prog_name="python -m tests.heap")
