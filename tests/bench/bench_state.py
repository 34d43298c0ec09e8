"""What many resting orders cost a peer that keeps them: its turns, its snapshots and a restart.

    python -m tests.bench.bench_state --orders 100000 --orders 1000000

Owns a ledger with its journal, without a mesh or a disk of its own making: three members' orders
rest at random prices, then some of them go with every commit and as many come. Prints, for each
number of orders, how long a turn takes while no snapshot is written and while one is, fsync
included, and its processor time; the bytes of an order in the pieces and in the file; and, of a
fresh process, how long a restart takes and how much memory it needs.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from engine import Cancel, Command, Market, Side, Submit
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Mode
from peer.consensus.committer import CHECKPOINT_EVERY, Checkpoint, Commit
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.ledger import Ledger
from peer.node.snapshots import PACE
from peer.process.collector import paused
from peer.replica.batch import command_id, encode_batch
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE, KEY_FILE
from peer.storage.journal import Journal
from tests import heap

MARKET = Market("BTC-USD", "0.01", "0.00000001", orders_max=2_000_000)
ACCOUNTS = 20
PART = 2_000  # orders of a member in a block, while the book grows
CHURN = 100  # orders of a member that go with a commit, and that come
TURNS = 600

encode = msgspec.msgpack.Encoder().encode


def config_of(folder: Path) -> tuple[MeshConfig, Identity]:
    identity = Identity.load(folder / KEY_FILE)
    keys = [identity.public, *(bytes([n]) * 32 for n in (1, 2))]
    members = [Member(f"m{n}", key.hex()) for n, key in enumerate(keys)]
    return MeshConfig("bench", Mode.CRASH, 1, members, [MARKET], "any"), identity


def opened(folder: Path) -> Ledger:
    config, identity = config_of(folder)
    journal = Journal(folder / JOURNAL_FILE, identity.public, config.id)
    pace = PACE._replace(commits=4 * CHECKPOINT_EVERY)
    return Ledger(config, 0, identity.sign, journal, pace=pace)


class Flow:
    """Commits, each with a block of every member."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rng = random.Random(1)
        self._resting: list[Submit] = []

    def commit(self, come: int, go: int) -> Commit:
        replica, committee = self._ledger.replica, self._ledger.committee
        number = replica.commit + 1
        blocks = []
        for member in range(committee.size):
            seq = replica.expected[member]
            gone = [self._cancel(command_id(seq + n, member)) for n in range(go)]
            new = [self._order(command_id(seq + go + n, member)) for n in range(come)]
            payload = encode_batch(seq, [encode(one) for one in (*gone, *new)])
            blocks.append(Block(Ref(number, member, b"d" * 32), (), payload))
        checkpoint = None
        if number % CHECKPOINT_EVERY == 0:
            checkpoint = Checkpoint.first(committee)._replace(commit=number, time_ms=number)
        return Commit(number, blocks[0].ref, number, tuple(blocks), checkpoint)

    def _order(self, id_: int) -> Command:
        side, price = Side(self._rng.randrange(2)), self._rng.randint(1, 500_000)
        price += 500_000 * side
        account = f"account{self._rng.randrange(ACCOUNTS)}"
        order = Submit(id_, account, MARKET.symbol, side, self._rng.randint(1, 1_000), price)
        self._resting.append(order)
        return order

    def _cancel(self, id_: int) -> Command:
        at = self._rng.randrange(len(self._resting))
        self._resting[at], self._resting[-1] = self._resting[-1], self._resting[at]
        order = self._resting.pop()
        return Cancel(id_, order.account, order.id)


class Turn(NamedTuple):
    """In milliseconds."""

    took: float
    processor: float


class Turns(NamedTuple):
    idle: list[Turn]  # while no snapshot is written
    busy: list[Turn]

    def text(self) -> str:
        kinds = []
        for name, turns in (("no snapshot", self.idle), ("a snapshot", self.busy)):
            if turns:
                clock, processor = (
                    f"p50 {statistics.median(times):.1f}, max {max(times):.1f} ms"
                    for times in zip(*turns, strict=True)
                )
                kinds.append(f"{name} {clock}; of the processor {processor}")
        return "turns: " + "; ".join(kinds)


def turn(ledger: Ledger, commit: Commit) -> Turn:
    """What a node does with a commit and its journal."""
    began, began_processor = time.perf_counter(), time.thread_time()
    ledger.apply(commit)
    ledger.replica.latest()
    ledger.tidy()
    ledger.journal.sync()
    took, processor = time.perf_counter() - began, time.thread_time() - began_processor
    return Turn(took * 1_000, processor * 1_000)


def live(ledger: Ledger, orders: int) -> Turns:
    """Let so many orders rest, and then some come and go."""
    with paused():  # as a peer does when it starts
        flow = Flow(ledger)
    size = ledger.committee.size
    for _ in range(-(-orders // (PART * size))):
        turn(ledger, flow.commit(min(PART, orders // size), 0))
    turns = Turns([], [])
    for _ in range(TURNS):
        commit, before = flow.commit(CHURN, CHURN), ledger.snapshots.is_writing
        took = turn(ledger, commit)
        (turns.busy if before or ledger.snapshots.is_writing else turns.idle).append(took)
    while ledger.snapshots.is_writing:
        ledger.tidy()
    ledger.journal.sync()
    return turns


def recover(folder: Path) -> str:
    """A restart, in this process."""
    began = time.perf_counter()
    ledger = opened(folder)
    with paused():
        ledger.recover(0)
    took = time.perf_counter() - began
    count = sum(1 for _ in ledger.replica.exchange.orders_open())
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4_096
    return f"restart: {count:,} orders in {took:.2f} s, {resident / 2**20:.0f} MiB resident"


@click.command()
@click.option("--orders", "sizes", default=[1_000, 100_000, 1_000_000], multiple=True)
@click.option("--recover", "folder", type=click.Path(path_type=Path), hidden=True)
def main(sizes: list[int], folder: Path | None) -> None:
    """Measure, and print."""
    heap.refuse_if_broken()
    if folder is not None:
        print(recover(folder))
        return
    for orders in sizes:
        with tempfile.TemporaryDirectory(prefix="state-") as name:
            data = Path(name) / "me"
            data_folder.create(data)
            ledger = opened(data)
            print(f"{orders:,} orders, load {os.getloadavg()[0]:.1f}", flush=True)
            print(f"  {live(ledger, orders).text()}", flush=True)
            pieces = sum(len(ledger.replica.piece(key)) for key, _ in ledger.replica.tree)
            size = sum(file.stat().st_size for file in data.glob("journal.db*"))
            ledger.journal.close()
            print(f"  bytes an order: {pieces / orders:.0f} in pieces, {size / orders:.0f} on disk")
            command = [sys.executable, "-m", "tests.bench.bench_state", "--recover", str(data)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"  {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
