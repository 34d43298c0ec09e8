"""What a commit costs the engine by how many orders rest, and where.

    python -m tests.bench.bench_engine_state --orders 1000 --orders 1000000

Orders of 20 accounts rest at random prices, or all at one. Then come commits of new orders, of
cancels of random ones, and of both, and after each what a peer asks: the levels that changed, who
stands behind them, the tree. Prints processor time a command, the median of the commits, then what
a restore costs an order and how large the pieces are.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator

import click

from engine import Cancel, Command, Exchange, Market, Side, Submit
from tests import heap

MARKET = Market("X", "0.01", "0.01", orders_max=2_000_000, orders_per_account_max=2_000_000)
PRICES = 1_000_000
ACCOUNTS = 20
MEMBERS = 3
BATCH = 1_000


class Flow:
    """Draws orders, and cancels of those that rest."""

    def __init__(self, one_price: bool) -> None:
        self.draw = random.Random(1)
        self.one_price = one_price
        self.resting: list[Submit] = []
        self.count = 0

    def order(self) -> Submit:
        draw, n = self.draw, self.count
        self.count += 1
        price = 1 if self.one_price else draw.randrange(1, PRICES)
        side = Side.BUY if price < PRICES // 2 else Side.SELL
        id = (n // MEMBERS + 1) * 256 + n % MEMBERS
        order = Submit(id, f"account {n % ACCOUNTS}", "X", side, 1 + draw.randrange(5_000), price)
        self.resting.append(order)
        return order

    def cancel(self) -> Cancel:
        at = self.draw.randrange(len(self.resting))
        self.resting[at], last = self.resting[-1], self.resting[at]
        self.resting.pop()
        return Cancel(0, last.account, last.id)

    def commits(self, size: int) -> Iterator[tuple[str, list[Command]]]:
        """One of each kind. As many orders rest after all as before."""
        yield "orders", [self.order() for _ in range(size)]
        yield "cancels", [self.cancel() for _ in range(size)]
        yield "both", [self.cancel() if n % 2 else self.order() for n in range(size)]


def spent(did: Callable[[], object]) -> float:
    began = time.process_time()
    did()
    return time.process_time() - began


def measure(exchange: Exchange, commands: list[Command]) -> list[float]:
    """Microseconds a command: applied, changes, shares, tree."""
    changes: list[tuple[Side, int, int, int]] = []
    seconds = (
        spent(lambda: exchange.apply_batch(commands)),
        spent(lambda: changes.extend(exchange.changes("X"))),
        spent(lambda: [exchange.shares("X", side, price) for side, price, *_ in changes]),
        spent(lambda: exchange.tree),
    )
    return [each / len(commands) * 1e6 for each in seconds]


def filled(orders: int, flow: Flow) -> Exchange:
    exchange = Exchange([MARKET])
    for start in range(0, orders, BATCH):
        exchange.apply_batch([flow.order() for _ in range(min(BATCH, orders - start))])
    exchange.changes("X")
    exchange.digest()
    return exchange


def show(orders: int, one_price: bool, sizes: tuple[int, ...], rounds: int) -> None:
    flow = Flow(one_price)
    exchange = filled(orders, flow)
    where = "at one price" if one_price else "at random prices"
    for size in sizes:
        rows: dict[str, list[list[float]]] = {}
        for _ in range(rounds):
            for kind, commands in flow.commits(size):
                rows.setdefault(kind, []).append(measure(exchange, commands))
        for kind, found in rows.items():
            each = [statistics.median(column) for column in zip(*found, strict=True)]
            cells = "".join(f"{value:10.1f}" for value in (*each, sum(each)))
            print(f"{orders:>11,} {where:18}{size:>6} {kind:8}{cells}", flush=True)
    pieces = dict(exchange.pieces())
    seconds = spent(lambda: Exchange.restore(pieces.items()))
    size = sum(map(len, pieces.values()))
    print(f"{len(pieces):,} pieces, {size / orders:.0f} bytes an order; ", end="")
    print(f"restored in {seconds:.2f} s, {seconds / orders * 1e6:.1f} µs an order")


@click.command()
@click.option("--orders", "counts", multiple=True, default=(1_000, 100_000, 1_000_000))
@click.option("--queue", "queues", multiple=True, default=(1_000, 100_000), help="At one price.")
@click.option("--commit", "sizes", multiple=True, default=(1, 100), help="Commands in a commit.")
@click.option("--rounds", default=51, help="Commits of each kind.")
def main(
    counts: tuple[int, ...], queues: tuple[int, ...], sizes: tuple[int, ...], rounds: int
) -> None:
    """Measure, and print: µs of processor time a command."""
    heap.refuse_if_broken()
    heads = ("applied", "changes", "shares", "tree", "all")
    print(f"{'resting':>11} {'':18}{'commit of':>14} {''.join(f'{head:>10}' for head in heads)}")
    for orders in counts:
        show(orders, False, sizes, rounds)
    for orders in queues:
        show(orders, True, sizes, rounds)


if __name__ == "__main__":
    main()
