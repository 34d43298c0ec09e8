"""Does a mesh keep its pace while an observer asks it as fast as it can?

The same orders with and without an observer that asks every peer for everything, again and again,
and reads all it gets. It would be on another machine: here it runs at the lowest priority, so that
it takes as little of the peers' processors as it can.
"""

import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import click
import zmq

from discovery.grapes import running_grapes
from peer.consensus.core import Pull
from peer.membership.identity import Identity, curve_public
from peer.network import messages
from tests import heap
from tests.bench.bench_mesh import PEERS
from tests.bench.bench_security import throughput
from tests.bench.measuring import lone_ms, machine, percentile
from tests.support.real_mesh import RealMesh, held_ports


def ask_on(ports: list[int], keys: list[bytes], stop: Event, counts: "list[int]") -> None:
    """Ask until told to stop; then `counts` has what was asked and what was answered."""
    os.nice(19)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    identity, poller = Identity.ephemeral(), zmq.Poller()
    for port, key in zip(ports, keys, strict=True):
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_secretkey = identity.curve_secret
        socket.curve_publickey = identity.curve_public
        socket.curve_serverkey = key
        socket.connect(f"tcp://127.0.0.1:{port}")
        poller.register(socket, zmq.POLLIN | zmq.POLLOUT)
    request = messages.request(Pull(0, (-1,) * len(ports)))
    while not stop.is_set():
        for socket, ready in poller.poll(100):
            with contextlib.suppress(zmq.Again):
                if ready & zmq.POLLIN:
                    socket.recv_multipart(zmq.NOBLOCK)
                    counts[1] += 1
                if ready & zmq.POLLOUT:
                    for _ in range(100):
                        socket.send_multipart(request, zmq.NOBLOCK)
                        counts[0] += 1
    context.destroy(linger=0)


@contextlib.contextmanager
def observer(ports: list[int], keys: list[bytes]) -> Iterator["list[int]"]:
    """One that asks while the block runs."""
    spawn = multiprocessing.get_context("spawn")
    stop, counts = spawn.Event(), spawn.Array("q", 2)
    process = spawn.Process(target=ask_on, args=(ports, keys, stop, counts))
    process.start()
    try:
        while not counts[1]:  # type: ignore[index]
            time.sleep(0.05)
        yield counts  # type: ignore[misc]
    finally:
        stop.set()
        process.join()


@click.command()
@click.option("--orders", default=6_000, show_default=True)
@click.option("--rounds", default=9, show_default=True, help="Of both, in turn.")
@click.option("--lone", default=40, show_default=True, help="Orders a round for the latency.")
def main(orders: int, rounds: int, lone: int) -> None:
    """Compare the two on the same orders."""
    heap.refuse_if_broken()
    rates: dict[bool, list[float]] = {False: [], True: []}
    latencies_ms: dict[bool, list[float]] = {False: [], True: []}
    asked = answered = asking_s = 0.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        grapes = [grape.spec.url for grape in stack.enter_context(running_grapes())]
        mesh = stack.enter_context(RealMesh(folder, grapes, PEERS, observers="any"))
        ports = stack.enter_context(held_ports(PEERS))
        for peer, port in zip(mesh.peers, ports, strict=True):
            peer.start(f"--fetch-port={port}")
        mesh.wait_quorum(mesh.peers)
        keys = [curve_public(member.public) for member in mesh.config.members]
        for seed in range(2 * rounds):
            is_flooded = seed % 2 == 1
            with observer(ports, keys) if is_flooded else contextlib.nullcontext([0, 0]) as counts:
                began_s, before = time.monotonic(), list(counts)
                rates[is_flooded].append(throughput(mesh, orders, seed // 2))
                latencies_ms[is_flooded] += lone_ms(mesh.peers, lone)
                if is_flooded:
                    asking_s += time.monotonic() - began_s
                    asked += counts[0] - before[0]
                    answered += counts[1] - before[1]
    click.echo(f"{orders:,} orders, {rounds} rounds ({machine()})")
    for is_flooded, name in ((False, "nobody asks"), (True, "an observer asks")):
        p50, p99 = (percentile(latencies_ms[is_flooded], percent) for percent in (50, 99))
        low, rate, high = statistics.quantiles(rates[is_flooded], n=4)
        click.echo(
            f"{name:>17}: {rate:,.0f} orders a second (quartiles {low:,.0f} to {high:,.0f}), "
            f"a lone one p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )
    asks, answers = asked / asking_s, answered / asking_s
    click.echo(f"it asked {asks:,.0f} times a second and was answered {answers:,.0f} times")


if __name__ == "__main__":
    main()
