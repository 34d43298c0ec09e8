"""The mesh's own figures: throughput and latency, by the number of peers and by rate.

Owns each mesh for as long as it is measured; every round starts new ones.
"""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from engine import Command, Side
from peer.client.connection import NodeClient
from peer.client.protocol import Done, Execute, Refused
from tests.bench import open_loop
from tests.bench.measuring import lone_ms, percentile, pids, processor_s
from tests.bench.story.figures import Figure, Story
from tests.bench.story.plan import Place, Plan
from tests.support.real_mesh import RealMesh, RealPeer, order, placed_mesh, random_orders

PEERS = 3
BULK_ACCOUNT = "bulk"
PER_REQUEST = 500  # orders
WAITING = 4_500  # orders of a submitter that are not final
ANSWER_S_MAX = 60.0

THROUGHPUT = "throughput, requests of 500"
LATENCY = "latency at three peers, from when an order was due until it is final"
LONE_P50 = Figure(LATENCY, "a lone order, p50", "ms")
LONE_P99 = Figure(LATENCY, "a lone order, p99", "ms")


def many(peers: int, submitters: int) -> Figure:
    by = "one submitter" if submitters == 1 else f"{submitters} submitters"
    of = "one peer" if peers == 1 else f"{peers} peers"
    return Figure(THROUGHPUT, f"{of}, {by}", "orders/s")


def crossing_order(number: int) -> Command:
    """Each second one trades with the one before, so the book stays small."""
    side = Side(number % 2)
    return order(("buyer", "seller")[number % 2], side, 10_000, 10)


def _through(client: NodeClient, orders: list[Command]) -> None:
    """Send all through one node, up to WAITING at a time, until all are final."""
    sent = final = 0
    while final < len(orders):
        while sent < len(orders) and sent - final < WAITING:
            part = orders[sent : sent + PER_REQUEST]
            client.send(Execute(list(part)))
            sent += len(part)
        answer = client.receive(ANSWER_S_MAX)
        assert answer is not None, f"{final} of {len(orders)} orders were final in time"
        match answer[1]:
            case Done(_, _, results):
                final += len(results)
            case Refused(code, reason):
                raise AssertionError(f"{code}: {reason}")


def per_second(peers: Sequence[RealPeer], orders: int) -> float:
    """Orders a second of as many submitters as peers are given, until the last is final."""
    rng = random.Random(1)
    flows = [random_orders(rng, BULK_ACCOUNT, orders // len(peers)) for _ in peers]
    with ThreadPoolExecutor(len(peers)) as submitters:
        began_s = time.monotonic()
        list(submitters.map(_through, [peer.client for peer in peers], flows))
        return sum(map(len, flows)) / (time.monotonic() - began_s)


@contextmanager
def warm_mesh(
    plan: Plan, folder: Path, size: int = PEERS, observers: Literal["any"] | None = None
) -> Iterator[RealMesh]:
    """A running mesh that has had some orders, which do not count."""
    with placed_mesh(folder, size, observers) as mesh:
        per_second(mesh.peers, plan.orders // 10)
        yield mesh


def throughput(plan: Plan, place: Place, story: Story) -> None:
    for size in plan.sizes:
        folder = place.folder / f"throughput{size}"
        folder.mkdir()
        with warm_mesh(plan, folder, size) as mesh:
            for submitters in sorted({1, min(size, 3)}):
                began_s = processor_s(pids(mesh.peers))
                rate = per_second(mesh.peers[:submitters], plan.orders)
                used_s = processor_s(pids(mesh.peers)) - began_s
                story.add(many(size, submitters), rate)
                what = f"{many(size, submitters).what}: processor of an order and peer"
                story.add(Figure(THROUGHPUT, what, "µs"), used_s / size / plan.orders * 1e6)
            mesh.agreed()


def add_percentiles(story: Story, section: str, what: str, latencies_ms: Sequence[float]) -> None:
    """The percentiles that so many samples can tell, else the slowest."""
    told = [(50.0, "p50")]
    told += [(99.0, "p99")] if len(latencies_ms) >= 100 else [(100.0, "slowest")]
    told += [(99.9, "p99.9")] if len(latencies_ms) >= 1_000 else []
    for percent, name in told:
        story.add(Figure(section, f"{what}, {name}", "ms"), percentile(latencies_ms, percent))


def paced(mesh: RealMesh, rate: int, seconds: float, story: Story, section: str, what: str) -> None:
    """An open loop through all members; adds its percentiles and what got no answer."""
    where = [peer.where for peer in mesh.peers]
    flows = open_loop.submit(where, rate, seconds, crossing_order)
    add_percentiles(story, section, what, [ms for flow in flows for ms in flow.latencies_ms])
    if missing := sum(flow.refused + flow.unanswered for flow in flows):
        story.add(Figure(section, f"{what}: refused or unanswered", "orders"), missing)


def latency(plan: Plan, place: Place, story: Story) -> None:
    with warm_mesh(plan, place.folder) as mesh:
        waits_ms = lone_ms(mesh.peers, plan.lone, crossing_order)
        for figure, percent in ((LONE_P50, 50), (LONE_P99, 99)):
            story.add(figure, percentile(waits_ms, percent))
        for rate, seconds in plan.rates:
            paced(mesh, rate, seconds, story, LATENCY, f"{rate:,} orders/s")
        mesh.agreed()
