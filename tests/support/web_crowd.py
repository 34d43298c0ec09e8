"""Crowds that attack a gateway from a process of their own, and a client that trades meanwhile."""

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from tests.support.web_gateway import Gateway, buy

CROWD = 40
ORDER_SECONDS_MAX = 2.0  # generous: the machine may be busy with other things
ALONE_SECONDS = 1.5
END_SECONDS = 30.0

# One client of a crowd. Arguments: the gateway's port, its number, the end, its counts.
Client = Callable[[int, int, Event, Counter[str]], None]


class Waits(NamedTuple):
    """Waits for orders sent one after another, each on its own connection: milliseconds, sorted."""

    each_ms: list[float]

    @property
    def worst_s(self) -> float:
        return self.each_ms[-1] / 1000

    def __str__(self) -> str:
        count = len(self.each_ms)
        p50, p99 = self.each_ms[count // 2], self.each_ms[count * 99 // 100]
        return f"p50 {p50:.0f} p99 {p99:.0f} ms of {count:,}"

    def beside(self, what: str, alone: "Waits", gateway: Gateway) -> str:
        """Waits during an attack and without it, and the load of the machine."""
        assert self.worst_s < ORDER_SECONDS_MAX, f"beside {what} an order took {self.worst_s:.1f} s"
        (ran_s, waited_s), load = processor_s(gateway), os.getloadavg()[0]
        return (
            f"an order beside {what}: {self}, alone: {alone}; the gateway's threads ran for "
            f"{ran_s:.1f} s and waited {waited_s:.1f} s for a processor, load {load:.0f}"
        )


def processor_s(gateway: Gateway) -> tuple[float, float]:
    """How long the gateway's threads have run, and waited for a processor."""
    tasks = Path(f"/proc/{gateway.process.pid}/task").glob("*/schedstat")
    ran, waited = zip(*(map(int, task.read_text().split()[:2]) for task in tasks), strict=True)
    return sum(ran) / 1e9, sum(waited) / 1e9


def trade(gateway: Gateway, seconds: float = ALONE_SECONDS) -> Waits:
    """Place and cancel orders for `seconds`. All must be taken."""
    waits, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        number = gateway.order(**buy("1", "1"))["id"]
        waits.append(1000 * (time.monotonic() - began))
        assert gateway.ask("DELETE", f"/order/{number}?account=alice").status == 200
    return Waits(sorted(waits))


@contextmanager
def crowd(port: int, client: Client) -> Iterator[Counter[str]]:
    """Run CROWD clients during the block. Their counts are complete after it."""
    spawned = multiprocessing.get_context("spawn")
    over, counted = spawned.Event(), Counter[str]()
    mine, theirs = spawned.Pipe()
    process = spawned.Process(target=_run, args=(port, client, over, theirs), daemon=True)
    process.start()
    try:
        assert mine.poll(END_SECONDS), "the crowd has not come"
        mine.recv()
        yield counted
    finally:
        over.set()
        counted.update(mine.recv() if mine.poll(END_SECONDS) else {"stuck": 1})
        process.join(1)
        process.kill()
        process.join()


def _run(port: int, client: Client, over: Event, pipe: Connection) -> None:
    os.nice(19)  # it simulates other machines, which do not use the gateway's processors
    parts = [Counter[str]() for _ in range(CROWD)]
    all_ = [
        threading.Thread(target=client, args=(port, n, over, part), daemon=True)
        for n, part in enumerate(parts)
    ]
    for one in all_:
        one.start()
    pipe.send("come")
    for one in all_:
        one.join()
    pipe.send(sum(parts, Counter[str]()))
