"""A firewall forgets the connections of one peer: they stay open, and all data on them is lost.

Neither end notices. Meanwhile the others trade. The peer must find out, connect again, catch up and
order its commands, for all kinds of connections and both directions.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from engine import Side
from tests.support.cuttable import BACK, THERE, CuttableNetwork, cuttable_mesh
from tests.support.real_mesh import RealMesh, order, submit_at_once, wait_for

ORDERS = 30
BACK_S = 60.0  # deadline
BLOCKS, FETCHES = 0, 1  # which of a peer's ports

Forget = Callable[[CuttableNetwork], None]


def _forget(
    pairs: Iterable[tuple[int, int]],
    sockets: Sequence[int] = (BLOCKS, FETCHES),
    ways: Sequence[int] = (THERE, BACK),
) -> Forget:
    def forget(network: CuttableNetwork) -> None:
        for who, whom in pairs:
            for socket in sockets:
                network.swallow(who, whom, network.ports[whom][socket], ways)

    return forget


OUT, IN = ((0, 1), (0, 2)), ((1, 0), (2, 0))
SHORT = {"all of them": _forget([*OUT, *IN])}
LONG = SHORT | {
    "what it hears": _forget(OUT, [BLOCKS]),
    "what is heard of it": _forget(IN, [BLOCKS]),
    "its questions and what it hears": _forget(OUT),
    "its questions on the way there": _forget(OUT, [FETCHES], [THERE]),
    "the answers, and what it hears": _forget(OUT, ways=[BACK]),
}


def attack(folder: Path, long: bool) -> str:
    lines = []
    with cuttable_mesh(folder) as (mesh, network):
        mesh.start()
        for what, forget in (LONG if long else SHORT).items():
            _trade(mesh, [0, 1, 2], 1)
            forget(network)
            lines.append(f"{what}: {_time_to_return_s(mesh):.1f} s")
    return f"connections forgotten, until the peer is up to date again: {', '.join(lines)}"


def _trade(mesh: RealMesh, numbers: Sequence[int], count: int) -> None:
    for n in range(count):
        flows = [(mesh.peers[k].client, [order("a", Side.BUY, 1 + n, 1)]) for k in numbers]
        submit_at_once(flows, timeout_s=BACK_S)


def _time_to_return_s(mesh: RealMesh) -> float:
    began_s = time.monotonic()
    _trade(mesh, [1, 2], ORDERS)
    commit = mesh.peers[1].state().commit

    def is_back() -> bool:
        return mesh.peers[0].state().commit >= commit

    wait_for("the peer to catch up", is_back, BACK_S)
    _trade(mesh, [0], 1)
    mesh.agreed()
    return time.monotonic() - began_s
