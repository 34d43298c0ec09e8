"""What a command costs a peer's replica and its queue of submissions, without disk and network.

    python -m tests.bench.bench_replica --commits 40

Three members' blocks of 500 commands are made before; then one process applies them, as each peer
of a mesh does. Processor times of a command, in µs, each the least of the rounds: what disturbs a
round only adds to it. A digest of the state comes at each checkpoint, as in a mesh.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click
import msgspec

import peer.replica.batch
from engine import Cancel, Command, Market, Side, Submit
from peer.client.programs import Caller
from peer.client.protocol import COMMANDS_PER_REQUEST_MAX
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import CHECKPOINT_EVERY, Checkpoint, Commit
from peer.node.submissions import Submissions
from peer.replica.batch import command_id, encode_batch
from peer.replica.signed import with_id
from peer.replica.state_machine import Replica
from tests import heap
from tests.bench.measuring import machine
from tests.support.epochs import first_epoch

COMMITTEE = Committee(b"m" * 16, 3, Mode.CRASH)
MARKET = Market("X", "0.01", "0.01", orders_max=2_000_000, orders_per_account_max=2_000_000)
AT_ONCE = 500  # commands of a block
ACCOUNTS = 20
FILL = 20  # commits of new orders alone, before the others
Draw = random.Random
Price = Callable[[Draw, Side], int]
_encode = msgspec.msgpack.Encoder().encode


def scattered(draw: Draw, side: Side) -> int:
    return draw.randint(1, 400_000) + 600_000 * side


def queued(draw: Draw, side: Side) -> int:
    return 1_000 + side


def crossing(draw: Draw, side: Side) -> int:
    return 1_000 + draw.randint(-20, 20)


class Flow:
    """New orders, and in every second commit cancels of some of them."""

    def __init__(self, price: Price) -> None:
        self._draw = random.Random(1)
        self._price = price
        self._seqs = [1] * COMMITTEE.size
        self._open: list[tuple[int, str]] = []

    def _command(self, author: int, cancels: bool) -> Command:
        draw, id_ = self._draw, command_id(self._seqs[author], author)
        self._seqs[author] += 1
        if cancels:
            at = draw.randrange(len(self._open))
            self._open[at], self._open[-1] = self._open[-1], self._open[at]
            order, account = self._open.pop()
            return Cancel(id_, account, order)
        side, account = Side(draw.randrange(2)), f"account{draw.randrange(ACCOUNTS)}"
        self._open.append((id_, account))
        return Submit(id_, account, "X", side, draw.randint(1, 1_000), self._price(draw, side))

    def commits(self, count: int) -> Iterator[Commit]:
        for number in range(1, count + 1):
            blocks = []
            for author in range(COMMITTEE.size):
                first = self._seqs[author]
                cancels = number > FILL and number % 2 == 0
                commands = [self._command(author, cancels) for _ in range(AT_ONCE)]
                payload = encode_batch(first, [_encode(each) for each in commands])
                blocks.append(Block(Ref(number, author, b"d" * 32), (), payload))
            yield Commit(number, blocks[0].ref, number, tuple(blocks), checkpoint(number))


def checkpoint(number: int) -> Checkpoint | None:
    if number % CHECKPOINT_EVERY:
        return None
    return Checkpoint.first(COMMITTEE)._replace(commit=number, time_ms=number)


class Cost(NamedTuple):
    """Processor time of a command, in µs."""

    new: float
    cancel: float
    digest: float


def replica_cost(commits: list[Commit]) -> Cost:
    replica = Replica([MARKET], first_epoch(COMMITTEE))
    spent = [0, 0]
    digests = 0
    for commit in commits:
        began = time.process_time_ns()
        replica.apply(commit)
        took = time.process_time_ns() - began
        spent[commit.number % 2 == 0] += took
        if commit.checkpoint is not None or commit is commits[-1]:
            began = time.process_time_ns()
            replica.latest()
            digests += time.process_time_ns() - began
    half = len(commits) / 2 * COMMITTEE.size * AT_ONCE * 1_000
    return Cost(spent[0] / half, spent[1] / half, digests / half / 2)


def submission_cost(commits: list[Commit]) -> tuple[float, float]:
    """Of taking in a command, and of giving its caller the result."""
    submissions, caller = Submissions(0), Caller(b"caller", 1)
    replica = Replica([MARKET], first_epoch(COMMITTEE))
    took = gave = 0
    for commit in commits:
        batch = peer.replica.batch.decode_batch(commit.blocks[0])
        commands = [with_id(each, 0) for each in batch.commands]
        for start in range(0, AT_ONCE, COMMANDS_PER_REQUEST_MAX):
            part = commands[start : start + COMMANDS_PER_REQUEST_MAX]
            began = time.process_time_ns()
            assert submissions.take(caller, part, 0) is None
            took += time.process_time_ns() - began
        began = time.process_time_ns()
        assert submissions.next_payload() == commit.blocks[0].payload
        submissions.save(0, at_once=False)
        submissions.acknowledge(with_commands=False)
        took += time.process_time_ns() - began
        applied = replica.apply(commit)
        began = time.process_time_ns()
        submissions.done(applied.ids, applied.results, commit.number, commit.time_ms)
        gave += time.process_time_ns() - began
    count = len(commits) * AT_ONCE * 1_000
    return took / count, gave / count


@click.command()
@click.option("--commits", default=40, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(commits: int, rounds: int) -> None:
    """Measure each flow, and print."""
    heap.refuse_if_broken()
    print(f"{machine()}, {heap.BUILDS[heap.is_compiled()]}")
    print(f"{'prices':>12} {'new':>6} {'cancel':>6} {'digest':>6} {'take':>6} {'result':>6}")
    for price in (scattered, queued, crossing):
        flow = list(Flow(price).commits(commits))
        costs = [replica_cost(flow) for _ in range(rounds)]
        submitted = [submission_cost(flow) for _ in range(rounds)]
        least = [min(each) for each in (*zip(*costs, strict=True), *zip(*submitted, strict=True))]
        print(f"{price.__name__:>12} " + " ".join(f"{each:6.2f}" for each in least))


if __name__ == "__main__":
    main()
