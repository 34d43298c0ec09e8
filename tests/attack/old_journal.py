"""A member's folder is restored from a slightly older copy, as from a snapshot of its machine, and
a client sends orders from the first moment on.

Its key has signed more than the copy knows. The member must not sign anything again: it notices and
stops, and the others continue to trade. A plain restart, with another member dead, must not wait
for ever.
"""

import contextlib
import shutil
import time
from pathlib import Path

from discovery.grapes import running_grapes
from engine import Side
from peer.client.endpoint import FOLDER
from peer.client.protocol import Execute
from tests.support.real_mesh import RealMesh, order, submit_at_once, wait_for

EAGER_S = 4.0
BETWEEN_S = 0.01


def attack(folder: Path, long: bool) -> str:
    runs = 5 if long else 1
    with running_grapes(1) as grapes:
        urls = [grape.spec.url for grape in grapes]
        for run in range(runs):
            (folder / str(run)).mkdir()
            with RealMesh(folder / str(run), urls) as mesh:
                _put_back(mesh)
        (folder / "plain").mkdir()
        with RealMesh(folder / "plain", urls) as mesh:
            back_s = _restart_beside_a_dead_one(mesh)
    return (
        f"{runs} of {runs} times only the member with the old journal stopped; a plain restart "
        f"beside a dead member trades after {back_s:.1f} s"
    )


def _trade(mesh: RealMesh, numbers: tuple[int, ...], price: int) -> None:
    flows = [(mesh.peers[n].client, [order("a", Side.BUY, price, 1)]) for n in numbers]
    submit_at_once(flows)


def _put_back(mesh: RealMesh) -> None:
    mesh.start()
    victim = mesh.peers[0]
    copy = victim.folder.with_name("copy")
    _trade(mesh, (0, 1, 2), 100)
    mesh.agreed()
    victim.kill()
    shutil.copytree(victim.folder, copy, ignore=shutil.ignore_patterns(FOLDER))
    victim.start()
    mesh.wait_quorum([victim])
    for price in range(200, 204):
        _trade(mesh, (0, 1, 2), price)
    victim.kill()
    shutil.rmtree(victim.folder)
    shutil.copytree(copy, victim.folder)
    victim.start()
    until_s = time.monotonic() + EAGER_S
    while time.monotonic() < until_s:
        victim.client.send(Execute([order("bot", Side.BUY, 300, 1)]))
        with contextlib.suppress(TimeoutError):
            victim.client.receive(BETWEEN_S)
    wait_for("the member with the old journal to stop", lambda: "halted" in victim.log())
    assert "the journal is an old copy" in victim.log(), victim.log()[-500:]
    for other in mesh.peers[1:]:
        assert "halted" not in other.log(), f"{other.folder.name} halts: {other.log()[-500:]}"
    _trade(mesh, (1, 2), 400)
    mesh.agreed(mesh.peers[1:])


def _restart_beside_a_dead_one(mesh: RealMesh) -> float:
    mesh.start()
    _trade(mesh, (0, 1, 2), 100)
    mesh.peers[2].kill()
    mesh.peers[0].kill()
    began_s = time.monotonic()
    mesh.peers[0].start()
    _trade(mesh, (0, 1), 101)
    return time.monotonic() - began_s
