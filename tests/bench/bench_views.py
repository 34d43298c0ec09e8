"""What a peer's answers about a book cost by how many orders rest: in one queue, or each at a price
of its own.

    python -m tests.bench.bench_views --orders 1000 --orders 1000000

Owns a replica, its publisher and a gateway's mirror of the book, without sockets. Prints processor
time and the bytes of each answer, the median of some. The orders are in the exchange alone: no
block brought them.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click
import msgspec

from engine import Market, Side, Submit
from peer.client.endpoint import Local
from peer.client.programs import Caller, Programs
from peer.client.protocol import DEPTH_MAX, MarketUpdate, State, Streamed, topic
from peer.client.units import units_of
from peer.consensus.committee import Committee, Mode
from peer.node.publisher import Publisher
from peer.replica.batch import command_id
from peer.replica.state_machine import Replica
from tests import heap
from tests.support.epochs import first_epoch
from web.market_data.book_mirror import BookMirror

MARKET = Market("BTC-USD", "0.01", "0.00000001", orders_max=2_000_000)
MEMBERS = 3
ACCOUNTS = 20
BATCH = 1_000
MIDDLE = 2_000_000  # bids are below, asks above
TOPICS = [topic("market", MARKET.symbol), topic("commit")]
ROUNDS = 21

_pack = msgspec.msgpack.Encoder().encode
_streamed = msgspec.msgpack.Decoder(Streamed)


class _Wires(Local):
    """Keeps what a subscribed program is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._programs = Programs(self._send)

    def _send(self, caller: Caller, body: bytes) -> bool:
        self.sent.append(body)
        return True


class Shown:
    """A book with so many orders on each side, what a program is told of it, and its mirror."""

    def __init__(self, orders: int, one_price: bool) -> None:
        self._step = 0 if one_price else 1
        self._draw = random.Random(1)
        committee = Committee(b"m" * 16, MEMBERS, Mode.CRASH)
        self.replica = Replica([MARKET], first_epoch(committee))
        self.wires = _Wires()
        self.publisher = Publisher(self.wires, self.replica)
        self.mirror = BookMirror(units_of(MARKET))
        self.count = 0
        places = list(range(orders))
        self._draw.shuffle(places)
        for start in range(0, orders, BATCH):
            some = places[start : start + BATCH]
            self._apply(place for each in some for place in ((Side.BUY, each), (Side.SELL, each)))
        self.replica.exchange.digest()
        self.wires.subscribe(Caller(b"page", b"1"), TOPICS, self._state_of)
        self._hear()

    def _apply(self, places: Iterator[tuple[Side, int]]) -> None:
        commands = [self._order(side, place) for side, place in places]
        self.replica.exchange.apply_batch(commands)
        self.publisher.flush(0)

    def _order(self, side: Side, place: int) -> Submit:
        """`place`: how far from the best price, unless all are at one."""
        price = MIDDLE + (1 + place * self._step) * (1 if side is Side.SELL else -1)
        self.count += 1
        number = command_id(self.count // MEMBERS + 1, self.count % MEMBERS)
        account = f"account{number % ACCOUNTS}"
        return Submit(number, account, MARKET.symbol, side, self._draw.randint(1, 1_000), price)

    def _state_of(self, name: str) -> Streamed:
        told = self.publisher.state(MARKET.symbol, DEPTH_MAX)
        assert isinstance(told, State)
        return told if name == TOPICS[0] else self.publisher.committed(0)

    def _hear(self) -> None:
        for body in self.wires.sent:
            match _streamed.decode(body):
                case State() as told:
                    self.mirror.reset(told)
                case MarketUpdate() as told:
                    self.mirror.stage(told)
        self.mirror.complete(0, 0, b"")
        self.wires.sent.clear()

    # What is measured. Each returns the bytes of the answer.

    def state(self) -> int:
        """`GET /state`, `/book`, and what a page starts with: the best levels."""
        return len(_pack(self.publisher.state(MARKET.symbol, DEPTH_MAX)))

    def update(self) -> int:
        """A new order at the best price: what the programs that listen are sent."""
        self._apply(iter([(Side.BUY, 0)]))
        return sum(map(len, self.wires.sent))

    def page(self) -> int:
        """What the gateway makes of it for pages."""
        self._hear()
        delta = self.mirror.take_delta()
        return len(_pack((delta.bids, delta.asks, self.mirror.checksum())))

    def places(self) -> int:
        """What stands before the newest order."""
        number = command_id(self.count // MEMBERS + 1, self.count % MEMBERS)
        account = f"account{number % ACCOUNTS}"
        return len(_pack(self.publisher.queue(account, [number])))

    def questions(self) -> dict[str, Callable[[], int]]:
        return {
            "state": self.state,
            "update": self.update,
            "page": self.page,
            "place in a queue": self.places,
        }


class Cost(NamedTuple):
    """Of one answer, the median."""

    us: float  # of processor time
    size: float  # bytes


def costs(shown: Shown) -> dict[str, Cost]:
    found: dict[str, list[Cost]] = {}
    for _ in range(ROUNDS):
        for name, asked in shown.questions().items():
            began_s = time.process_time()
            size = asked()
            found.setdefault(name, []).append(Cost((time.process_time() - began_s) * 1e6, size))
    return {
        name: Cost(*(statistics.median(column) for column in zip(*each, strict=True)))
        for name, each in found.items()
    }


@click.command()
@click.option("--orders", "counts", multiple=True, default=(1_000, 100_000, 1_000_000))
def main(counts: tuple[int, ...]) -> None:
    """Measure, and print."""
    heap.refuse_if_broken()
    for one_price in (True, False):
        for orders in counts:
            where = "at one price a side" if one_price else "each at a price of its own"
            print(f"{orders:,} orders, {where}")
            for name, (us, size) in costs(Shown(orders // 2, one_price)).items():
                print(f"  {name:18}{us:10,.0f} µs{size:12,.0f} bytes", flush=True)


if __name__ == "__main__":
    main()
