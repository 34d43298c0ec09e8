"""What the mesh's figures become as more depends on it: resting orders, history, listeners."""

import contextlib
import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path

from engine import CancelAll
from peer.storage import data_folder
from tests.bench.bench_resting import running_book
from tests.bench.measuring import lone_ms, percentile
from tests.bench.story.figures import Figure, Story
from tests.bench.story.mesh import (
    BULK_ACCOUNT,
    add_percentiles,
    crossing_order,
    paced,
    per_second,
    warm_mesh,
)
from tests.bench.story.plan import Place, Plan
from tests.bench.stream_readers import serve
from tests.support.real_mesh import LOCAL, RealMesh, RealPeer, wait_for
from tests.support.web_gateway import running_gateway

RESTING = "growth with resting orders, at random prices"
HISTORY = "growth with history"
ATTACHED = "with followers and browsers attached, 200 orders/s"
ATTACHED_RATE = 200
BULK_MAX = 13_500


def resting(plan: Plan, _: Place, story: Story) -> None:
    draw = random.Random(2)
    with running_book(lambda side: draw.randint(1, 400_000) + 600_000 * side) as book:
        for size in plan.resting:
            book.fill(size)
            found = book.measure(plan.lone, min(plan.orders, BULK_MAX))
            what = f"{size:,} resting"
            for name, value, unit in (
                ("new orders", found.new_per_s, "orders/s"),
                ("processor of a new order and peer", found.new_us, "µs"),
                ("cancels", found.cancels_per_s, "orders/s"),
                ("processor of a cancel and peer", found.cancel_us, "µs"),
                ("memory of a peer", found.mib, "MiB"),
            ):
                story.add(Figure(RESTING, f"{what}: {name}", unit), value)
            add_percentiles(story, RESTING, f"{what}: a lone order", found.lone_ms)


def history(plan: Plan, place: Place, story: Story) -> None:
    with warm_mesh(plan, place.folder) as mesh:
        for commands in (0, plan.history):
            if commands:
                per_second(mesh.peers, commands)
                mesh.peers[0].client.execute([CancelAll(0, BULK_ACCOUNT)])  # the book stays small
            what = f"after {commands:,} commands"
            rate = per_second(mesh.peers, plan.orders)
            story.add(Figure(HISTORY, f"{what}: three submitters", "orders/s"), rate)
            waits_ms = lone_ms(mesh.peers, plan.lone, crossing_order)
            median_ms = percentile(waits_ms, 50)
            story.add(Figure(HISTORY, f"{what}: a lone order, p50", "ms"), median_ms)


@contextlib.contextmanager
def followers(mesh: RealMesh, folder: Path, count: int) -> Iterator[None]:
    """Peers that are no members and follow the mesh, during the block."""
    members = zip(mesh.config.members, mesh.places, strict=True)
    options = [f"--at={member.name}={LOCAL}:{port}" for member, (port, _) in members]
    with contextlib.ExitStack() as stack:
        started = []
        for n in range(count):
            data_folder.create(folder / f"follower{n}")
            peer = RealPeer(folder / f"follower{n}", mesh.file, [], options=options)
            stack.callback(peer.close)
            peer.start()
            started.append(peer)
        mesh.wait_quorum(started)
        commit = mesh.agreed().commit
        for peer in started:
            wait_for("the follower", lambda peer=peer: peer.state().commit >= commit)
        yield


@contextlib.contextmanager
def browsers(port: int, count: int, seconds: float) -> Iterator[None]:
    """WebSocket clients that read the book during the block, in a process of their own."""
    ours, theirs = multiprocessing.Pipe()
    readers = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, port, count, 0), daemon=True
    )
    readers.start()
    ours.recv()
    ours.send(seconds + 1)
    yield
    ours.recv()
    ours.send(None)
    ours.recv()
    readers.join()


def attached(plan: Plan, place: Place, story: Story) -> None:
    seconds = plan.http_seconds
    with warm_mesh(plan, place.folder, observers="any") as mesh:
        paced(mesh, ATTACHED_RATE, seconds, story, ATTACHED, "none")
        with followers(mesh, place.folder, plan.followers):
            what = f"{plan.followers} followers"
            paced(mesh, ATTACHED_RATE, seconds, story, ATTACHED, what)
        with (
            running_gateway(mesh.peers[0].folder) as gateway,
            browsers(gateway.wait_ready().port, plan.browsers, seconds),
        ):
            what = f"{plan.browsers} browsers at one peer"
            paced(mesh, ATTACHED_RATE, seconds, story, ATTACHED, what)
