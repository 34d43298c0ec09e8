"""Strangers at many addresses connect to a peer that may open few files, and send nothing.

They try to take all its descriptors. Meanwhile another member comes back, clients send orders, and
a program on the peer's machine connects, which would end the process if no descriptor were left.
The peer must go on, let the member in, and have no strangers' connections afterwards.
"""

import contextlib
import multiprocessing
import os
import resource
import socket
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

from engine import Side
from peer.client.connection import NoAnswerError, NodeClient
from tests.support.real_mesh import (
    MARKET,
    RealMesh,
    RealPeer,
    held_ports,
    order,
    pairs,
    submit_at_once,
    wait_for,
)

LIMIT = 1_024  # open files, hard and soft
ADDRESSES = 8
HELD = 1_500  # connections that the strangers keep at a time
SHORT_S, LONG_S = 4.0, 60.0
DEADLINE_S = 30.0


def strangers(ports: list[int], stop: Event) -> None:
    """Connect, again and again."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held: deque[socket.socket] = deque()
    number = 0
    while not stop.is_set():
        number += 1
        for port in ports:
            one = socket.socket()
            one.setblocking(False)
            with contextlib.suppress(OSError):
                one.bind((f"127.0.0.{100 + number % ADDRESSES}", 0))
                one.connect(("127.0.0.1", port))
            held.append(one)
        while len(held) > HELD:
            held.popleft().close()
        if number % 20 == 0:
            time.sleep(0.01)


@contextlib.contextmanager
def crowd(ports: list[int]) -> Iterator[None]:
    """Run strangers during the block."""
    spawned = multiprocessing.get_context("spawn")
    stop = spawned.Event()
    process = spawned.Process(target=strangers, args=(ports, stop), daemon=True)
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join(10)
        process.kill()
        process.join()


def attack(folder: Path, long: bool) -> str:
    with held_ports(6) as ports, RealMesh(folder, []) as mesh:
        mesh.tell_places(pairs(ports))
        victim, other, third = mesh.peers
        victim.limit_files(LIMIT)
        mesh.start()
        before = most = _descriptors(victim)
        returned_s: list[float] = []
        with crowd(ports[:2]):
            wait_for("the strangers", lambda: _descriptors(victim) > before + 100)
            until_s = time.monotonic() + (LONG_S if long else SHORT_S)
            while time.monotonic() < until_s or not returned_s:
                third.kill()
                third.start()
                returned_s.append(_until_heard_s(victim, by=third))
                most = max(most, _descriptors(victim))
                _connect_locally(victim)
                flows = [(peer.client, [order("a", Side.BUY, 1, 1)]) for peer in (victim, other)]
                submit_at_once(flows, timeout_s=DEADLINE_S)
        wait_for("the strangers to be gone", lambda: _descriptors(victim) < before + 50)
        mesh.agreed()
        log = victim.log()
    assert most < LIMIT, f"{most} descriptors"
    assert "Traceback" not in log, log[-2_000:]
    assert "halted" not in log, log[-2_000:]
    return (
        f"{ADDRESSES} addresses: at most {most} of {LIMIT:,} descriptors, {before} before; "
        f"a member started {len(returned_s)} times heard the peer within {max(returned_s):.1f} s"
    )


def _connect_locally(victim: RealPeer) -> None:
    with NodeClient(victim.where) as client:
        try:
            client.state(MARKET)
        except NoAnswerError as error:
            victim.check_runs()
            raise AssertionError(f"a program on its machine: {error}") from None


def _until_heard_s(victim: RealPeer, by: RealPeer) -> float:
    began_s = time.monotonic()
    name = victim.folder.name
    by.mesh_view(lambda view: name in [m.name for m in view.members if m.alive], DEADLINE_S)
    return time.monotonic() - began_s


def _descriptors(peer: RealPeer) -> int:
    peer.check_runs()
    assert peer.process is not None
    return len(os.listdir(f"/proc/{peer.process.pid}/fd"))
