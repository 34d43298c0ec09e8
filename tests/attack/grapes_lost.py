"""Grapes die: first that of one host, then all of them.

Every host has its own Grape, as documented. When one dies, its host's peer is no longer announced,
and after two to four minutes no lookup finds it: its links must stay, and its orders be ordered.
Then no Grape is left, and members are killed and started again, one of them on another port: all
must come back by remembered addresses, their own or another member's.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from discovery.grapes import running_grapes
from engine import Side
from peer.network.address_file import AddressFile
from peer.storage.data_folder import ADDRESSES_FILE
from tests.support.real_mesh import RealMesh, RealPeer, held_ports, order, submit_at_once, wait_for
from tests.support.tcp_connections import links_of

EXPIRED_S = 360.0  # a dead peer leaves the lookups after 80 to 230 s


def attack(folder: Path, long: bool) -> str:
    with held_ports(4) as held, running_grapes(3) as grapes, RealMesh(folder, [], 3) as mesh:
        ports = iter(held)
        for peer, grape in zip(mesh.peers, grapes, strict=True):
            peer.add_options(["--grape", grape.spec.url, "--port", str(next(ports))])
        mesh.start()
        began_s, orders = time.monotonic(), trade(mesh)
        links = links_of(mesh.peers, held)
        grapes[0].kill()
        while long and time.monotonic() - began_s < EXPIRED_S:
            orders += trade(mesh)
            time.sleep(5)
        for grape in grapes[1:]:
            grape.kill()
        orders += trade(mesh)
        assert links_of(mesh.peers, held) == links, "links between living peers were made anew"

        for peer in mesh.peers:
            wait_for("its memory", partial(remembers, peer), 60)
        *others, last = mesh.peers
        links = links_of(others, held[:2])
        restart([last])
        orders += trade(mesh)
        restart([last], "--port", str(next(ports)))
        orders += trade(mesh)
        assert links_of(others, held[:2]) == links, "the others' links were made anew"
        restart(mesh.peers)
        orders += trade(mesh)
        mesh.agreed()
    waited = f"{EXPIRED_S:.0f} s after one died, and " if long else ""
    return f"without Grapes: all of {orders} orders done {waited}after restarts of one and of all"


def trade(mesh: RealMesh) -> int:
    """Send an order at every peer; returns how many. Fails if one is not ordered."""
    flows = [(peer.client, [order("a", Side.BUY, 100, 1)]) for peer in mesh.peers]
    return sum(map(len, submit_at_once(flows, timeout_s=30)))


def remembers(peer: RealPeer) -> bool:
    """Whether the addresses of both others are on its disk, a moment after it has met them."""
    return len(AddressFile(peer.folder / ADDRESSES_FILE).load()) == 2


def restart(peers: Sequence[RealPeer], *options: str) -> None:
    """Kill a peer by kill -9, and start it with these options."""
    for peer in peers:
        peer.kill()
    for peer in peers:
        peer.start(*options)
    for peer in peers:
        wait_for("quorum", peer.sees_quorum, 60)
