"""Three peers with ever more resting orders: what a command costs, and how long a lone one takes.

    python -m tests.bench.bench_resting --random 1000,1000000 --queue 1000,100000

Orders of 20 accounts rest at random prices, then, in a mesh of its own, in one queue at one price.
At each size come new orders, cancels of random ones, and orders one at a time. All peers and their
clients share one machine: how the figures grow counts, more than what they are. Both tables take
about four minutes on two quiet cores.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from engine import Accepted, Cancel, Command, Market, Side
from peer.client.protocol import Result
from tests import heap
from tests.bench.measuring import lone_ms, machine, percentile, pids, processor_s, resident_mib
from tests.support.real_mesh import (
    MARKET,
    RealMesh,
    order,
    placed_mesh,
    submit_at_once,
)

PEERS = 3
ACCOUNTS = 20
AT_ONCE = 500  # commands of a request
WAITING = 4_500  # commands of a peer that wait to be ordered
BULK = 3 * WAITING  # commands that are measured together, at all peers
RANDOM = "1000,105000,420000,1000000"
QUEUE = "0,25000,50000,75000,100000"
# By default a market takes 1,000,000 orders. Here new ones come when so many rest already.
MARKETS = [Market(MARKET, "0.01", "0.00000001", orders_max=2_000_000)]
COLUMNS = (
    "resting",
    "new orders/s",
    "CPU µs",
    "cancels/s",
    "CPU µs",
    "lone p50",
    "p99",
    "max ms",
    "MiB a peer",
    "no quorum",
)

Price = Callable[[Side], int]


class Book:
    """The orders that rest in a mesh, of which some can be cancelled."""

    def __init__(self, mesh: RealMesh, price: Price) -> None:
        self.mesh = mesh
        self._price = price
        self._draw = random.Random(1)
        self._resting: list[tuple[int, str]] = []

    def new(self) -> Command:
        side = Side(self._draw.randrange(2))
        account = f"account{self._draw.randrange(ACCOUNTS)}"
        return order(account, side, self._price(side), self._draw.randint(1, 1_000))

    def cancel(self) -> Command:
        at = self._draw.randrange(len(self._resting))
        self._resting[at], self._resting[-1] = self._resting[-1], self._resting[at]
        number, account = self._resting.pop()
        return Cancel(0, account, number)

    def run(self, commands: list[Command]) -> tuple[float, float]:
        """Commands a second until all are final, and processor time a command and peer, in µs."""
        began_s, began_cpu_s = time.monotonic(), processor_s(pids(self.mesh.peers))
        flows = [(peer.client, commands[n::PEERS]) for n, peer in enumerate(self.mesh.peers)]
        for results in submit_at_once(flows, AT_ONCE):
            self._note(results)
        took_s = time.monotonic() - began_s
        cpu_s = processor_s(pids(self.mesh.peers)) - began_cpu_s
        return len(commands) / took_s, cpu_s / PEERS / len(commands) * 1e6

    def fill(self, count: int) -> None:
        while (missing := count - len(self._resting)) > 0:
            self.run([self.new() for _ in range(min(missing, BULK))])

    def lone_ms(self, count: int) -> list[float]:
        return lone_ms(self.mesh.peers, count, lambda _: self.new(), self._note)

    def _note(self, results: list[Result]) -> None:
        for result in results:
            match result.events[0]:
                case Accepted(id=number, account=account):
                    self._resting.append((number, account))

    def measure(self, lone: int, bulk: int = BULK) -> "Size":
        resting = len(self._resting)
        new = self.run([self.new() for _ in range(bulk)])
        gone = self.run([self.cancel() for _ in range(bulk)])
        waits_ms = self.lone_ms(lone)
        memory = sum(map(resident_mib, pids(self.mesh.peers))) / PEERS
        lost = sum(peer.log().count("NO QUORUM") for peer in self.mesh.peers)
        return Size(resting, *new, *gone, waits_ms, memory, lost)


class Size(NamedTuple):
    """The figures with so many resting orders. Processor times are of a command at one peer."""

    resting: int
    new_per_s: float
    new_us: float
    cancels_per_s: float
    cancel_us: float
    lone_ms: list[float]
    mib: float  # of a peer
    no_quorum: int  # how often peers lost it

    def row(self) -> list[str]:
        bulk = (self.new_per_s, self.new_us, self.cancels_per_s, self.cancel_us)
        return [
            f"{self.resting:,}",
            *(f"{figure:,.0f}" for figure in bulk),
            *(f"{percentile(self.lone_ms, percent):.1f}" for percent in (50, 99, 100)),
            f"{self.mib:.0f}",
            f"{self.no_quorum}",
        ]


@contextmanager
def running_book(price: Price) -> Iterator[Book]:
    with (
        tempfile.TemporaryDirectory(prefix="resting-") as name,
        placed_mesh(Path(name), PEERS, markets=MARKETS) as mesh,
    ):
        yield Book(mesh, price)
        mesh.agreed(market=MARKET)


def table(title: str, price: Price, sizes: list[int], lone: int, bulk: int) -> Table:
    shown = Table(*COLUMNS, title=title)
    with running_book(price) as book:
        for size in sizes:
            book.fill(size)
            shown.add_row(*book.measure(lone, bulk).row())
    return shown


def _sizes(text: str) -> list[int]:
    return sorted(int(each) for each in text.split(",") if each)


@click.command()
@click.option("--random", "scattered", default=RANDOM, show_default=True)
@click.option("--queue", default=QUEUE, show_default=True)
@click.option("--lone", default=300, show_default=True, help="Orders for the latency alone.")
@click.option("--bulk", default=BULK, show_default=True, help="Commands measured together.")
def main(scattered: str, queue: str, lone: int, bulk: int) -> None:
    """Measure both, and print."""
    heap.refuse_if_broken()
    draw, console = random.Random(2), Console(width=120)
    kinds: list[tuple[str, Price, str]] = [
        ("at random prices", lambda side: draw.randint(1, 400_000) + 600_000 * side, scattered),
        ("at one price a side", lambda side: 1_000 + side, queue),
    ]
    for name, price, sizes in kinds:
        if wanted := _sizes(sizes):
            console.print(table(f"{name} ({machine()})", price, wanted, lone, bulk))


if __name__ == "__main__":
    main()
