"""Half an hour of real order flow through three peers: `make replay`.

The flow is Bitstamp's BTC/USD, 314,057 level-3 events, as the PyPI package ob-analytics carries it;
it is read from the installed package. Every order goes through the peer its id maps to, its changes
and its end too. A `created` becomes a limit order, a `changed` a reduce, a `deleted` a cancel. Ours
is another matching engine than Bitstamp's and sees the flow in another order, so some changes and
ends meet an order that has traded here already: they are rejected, and counted.
"""

import csv
import gzip
import importlib.util
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from discovery.grapes import running_grapes
from engine import Accepted, Cancel, Command, Event, Reduce, Rejected, Side, Submit, Trade
from peer.client.connection import NodeClient
from peer.client.protocol import Done, Execute, Queued, Refused
from tests import heap
from tests.support.real_mesh import MARKET, MARKETS, RealMesh

TICK, LOT = (Decimal(text) for text in (MARKETS[0].tick, MARKETS[0].lot))
PER_REQUEST_MAX = 200
UNACKNOWLEDGED_MAX = 5_000  # commands sent to one peer and not final yet


class Row(NamedTuple):
    """One event of the source, in our units."""

    action: str
    order: str
    side: Side
    price: int
    quantity: int


def rows(limit: int) -> Iterator[Row]:
    """The source's events, in its order."""
    spec = importlib.util.find_spec("ob_analytics")
    if spec is None or spec.origin is None:
        raise click.ClickException("needs the data in ob-analytics: `make replay` installs it")
    path = Path(spec.origin).parent / "_sample_data" / "orders.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == limit:
                return
            side = Side.BUY if row["direction"] == "bid" else Side.SELL
            price, quantity = int(Decimal(row["price"]) / TICK), int(Decimal(row["volume"]) / LOT)
            yield Row(row["action"], row["id"], side, price, quantity)


class Lane:
    """The way of the flow through one peer."""

    def __init__(self, client: NodeClient, account: str) -> None:
        self.client = client
        self.account = account
        self.sent = 0
        self.final = 0
        self.counts: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self._batch: list[Command] = []
        self._places: dict[str, int] = {}  # source id -> place in the batch
        self._sent: dict[str, bytes] = {}  # source id -> request whose ids we wait for
        self._waiting: dict[bytes, dict[str, int]] = {}  # request -> its places
        self._ids: dict[str, int] = {}
        self._sent_s: dict[bytes, float] = {}

    def add(self, row: Row) -> None:
        """Put an event into the flow; sends and waits where it must."""
        if row.action == "created":
            self._places[row.order] = len(self._batch)
            self._batch.append(Submit(0, self.account, MARKET, row.side, row.quantity, row.price))
        else:
            order = self._reference(row.order)
            if order == 0:
                self.counts["without a beginning"] += 1
            elif row.action == "changed":
                self._batch.append(Reduce(0, self.account, order, row.quantity))
            else:
                self._batch.append(Cancel(0, self.account, order))
        if len(self._batch) >= PER_REQUEST_MAX:
            self.flush()

    def _reference(self, source: str) -> int:
        """What to call an order by: its id, or its place in this request; 0: never seen."""
        if source in self._places:
            return -self._places[source] - 1
        while source in self._sent:
            self.receive(30)
        return self._ids.get(source, 0)

    def flush(self) -> None:
        if not self._batch:
            return
        number = self.client.send(Execute(self._batch))
        self._sent_s[number] = time.monotonic()
        self._waiting[number] = self._places
        self._sent.update(dict.fromkeys(self._places, number))
        self.sent += len(self._batch)
        self._batch, self._places = [], {}
        while self.sent - self.final > UNACKNOWLEDGED_MAX:
            self.receive(30)

    def receive(self, timeout_s: float) -> bool:
        """Take one answer; whether there was one."""
        answer = self.client.receive(timeout_s)
        if answer is None:
            if timeout_s:
                raise click.ClickException(f"no answer from a peer for {timeout_s} s")
            return False
        number, reply = answer
        match reply:
            case Queued(ids):
                for source, place in self._waiting.pop(number).items():
                    self._ids[source] = ids[place]
                    del self._sent[source]
            case Done(results=results):
                waited_ms = (time.monotonic() - self._sent_s[number]) * 1000
                self.latencies_ms += [waited_ms] * len(results)
                self.final += len(results)
                for result in results:
                    self._count(result.events)
            case Refused(code, reason):
                raise click.ClickException(f"{code}: {reason}")
        return True

    def _count(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Rejected):
                self.counts[f"rejected: {event.reason.name.lower().replace('_', ' ')}"] += 1
            elif isinstance(event, Trade | Accepted):
                self.counts[type(event).__name__] += 1


def replay(lanes: list[Lane], limit: int, rate: float, progress: Progress) -> float:
    """Drive the flow through the lanes; the seconds it took."""
    task = progress.add_task("events", total=limit or 314_057)
    started_s = time.monotonic()
    for number, row in enumerate(rows(limit or -1)):
        if rate and number / rate > time.monotonic() - started_s:
            for lane in lanes:
                lane.flush()
                while lane.receive(0):
                    pass
            time.sleep(max(number / rate - (time.monotonic() - started_s), 0))
        lanes[int(row.order) % len(lanes)].add(row)
        if number % 1_000 == 999:
            progress.update(task, completed=number + 1)
            for lane in lanes:
                while lane.receive(0):
                    pass
    for lane in lanes:
        lane.flush()
        while lane.final < lane.sent:
            lane.receive(30)
    progress.update(task, completed=limit or 314_057)
    return time.monotonic() - started_s


def report(lanes: list[Lane], took_s: float, mesh: RealMesh, console: Console) -> None:
    state = mesh.agreed()
    latencies_ms = sorted(ms for lane in lanes for ms in lane.latencies_ms)
    counts = sum((lane.counts for lane in lanes), Counter[str]())
    total = len(latencies_ms)
    table = Table("", "", title="Three peers, one book", show_header=False)
    table.add_row("machine", f"{os.cpu_count()} cores, Python {platform.python_version()}")
    table.add_row("commands", f"{total:,} in {took_s:.1f} s: {total / took_s:,.0f} a second")
    table.add_row("trades", f"{state.trades[0].number if state.trades else 0:,}")
    table.add_row("finality p50", f"{statistics.median(latencies_ms):.1f} ms")
    table.add_row("finality p99", f"{latencies_ms[total * 99 // 100]:.1f} ms")
    table.add_row("commits", f"{state.commit:,}")
    for what, count in sorted(counts.items()):
        table.add_row(what.lower(), f"{count:,}")
    table.add_row("same digest on all three", state.digest.hex())
    console.print(table)


@click.command()
@click.option("--limit", default=0, help="Only so many events; 0: all.")
@click.option("--rate", default=0.0, help="Events a second; 0: as fast as they go.")
@click.option("--peers", default=3, show_default=True)
def main(limit: int, rate: float, peers: int) -> None:
    """Replay real order flow through a mesh of its own, and show that all books are the same."""
    heap.refuse_if_broken()
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        tempfile.TemporaryDirectory(prefix="replay-") as folder,
        running_grapes() as grapes,
        RealMesh(Path(folder), [grape.spec.url for grape in grapes], peers) as mesh,
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
    ):
        mesh.start()
        lanes = [Lane(peer.client, "bitstamp") for peer in mesh.peers]
        took_s = replay(lanes, limit, rate, progress)
        progress.stop()
        report(lanes, took_s, mesh, console)


if __name__ == "__main__":
    main()
