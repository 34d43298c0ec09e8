"""A stranger fills the DHT with invented addresses of the members, without end.

It runs its own Grape, joined over UDP as any program may, and announces thousands of addresses
under the members' service names. Meanwhile all orders must be ordered, and no peer may lose its
quorum. A member that is killed meanwhile must come back, on another port. And members that have
never met must find each other, each among ninety-nine fakes.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from discovery.grape import Grape, GrapeError
from discovery.grapes import running_grapes
from engine import Side
from tests.support.real_mesh import RealMesh, RealPeer, held_ports, order, submit_at_once, wait_for
from tests.support.tcp_connections import links_of

THREADS = 4
FAKES = 99  # of one member; with the true one they are all that a lookup shows


class Stranger:
    """`announced` counts the announcements that its Grape took."""

    def __init__(self, url: str) -> None:
        self.announced = 0
        self._grape = Grape([url])
        self._stop = threading.Event()

    def announce(self, name: str, port: int) -> None:
        """Announce to the DHT nodes that the first call for the name has found."""
        with contextlib.suppress(GrapeError):
            self._grape.call("announce", [name, port])
            self.announced += 1

    def _flood(self, names: Sequence[str], first: int) -> None:
        for number in itertools.count(first, THREADS):
            if self._stop.is_set():
                return
            self.announce(names[number % len(names)], 1024 + number * 7 % 60_000)

    @contextlib.contextmanager
    def flooding(self, names: Sequence[str]) -> Iterator[None]:
        threads = [threading.Thread(target=self._flood, args=(names, n)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def trade(peers: Sequence[RealPeer], seconds: float) -> int:
    """Send orders one after another at every peer; returns how many. Fails if one is not
    ordered."""
    end_s, count = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        flows = [(peer.client, [order("a", Side.BUY, 100, 1)]) for peer in peers]
        count += sum(map(len, submit_at_once(flows, timeout_s=20)))
        time.sleep(0.1)
    return count


def attack(folder: Path, long: bool) -> str:
    with running_grapes(3) as grapes:
        *urls, its_own = [grape.spec.url for grape in grapes]
        stranger = Stranger(its_own)
        with held_ports(4) as ports, RealMesh(folder / "running", urls, 3) as mesh:
            for peer, port in zip(mesh.peers, ports, strict=False):
                peer.add_options(["--port", str(port)])
            mesh.start()
            trade(mesh.peers, 0.1)
            links = links_of(mesh.peers, ports)
            with stranger.flooding([mesh.config.service(number) for number in range(3)]):
                seconds = 60.0 if long else 10.0  # a name that was found is looked up so often
                orders = trade(mesh.peers, seconds)
                assert links_of(mesh.peers, ports) == links, "working links were made anew"
                back_s = come_back(mesh, ports[3])
                orders += trade(mesh.peers, seconds / 10)
        line = f"{stranger.announced} announcements, all of {orders} orders done; "
        line += f"a peer was back at another port after {back_s:.1f} s"
        return line + (f"; {meet(folder / 'fresh', urls, stranger)}" if long else "")


def come_back(mesh: RealMesh, port: int) -> float:
    """Kill a peer and start it on another port; returns how long until it takes part again."""
    peer = mesh.peers[2]
    peer.kill()
    began_s = time.monotonic()
    peer.start("--port", str(port))
    wait_for("quorum", peer.sees_quorum, 60)
    trade([peer], 0.1)
    mesh.agreed()
    return time.monotonic() - began_s


def meet(folder: Path, urls: Sequence[str], stranger: Stranger) -> str:
    """Members that have never met find each other among fakes."""
    with RealMesh(folder, urls, 3) as mesh:
        for number in range(3):
            for fake in range(FAKES):
                stranger.announce(mesh.config.service(number), 1024 + fake)
        began_s = time.monotonic()
        for peer in mesh.peers:
            peer.start()
        for peer in mesh.peers:
            wait_for("quorum", peer.sees_quorum, 120)
        trade(mesh.peers, 0.1)
        met_s = time.monotonic() - began_s
        return f"three that had never met did among {FAKES} fakes each in {met_s:.1f} s"
