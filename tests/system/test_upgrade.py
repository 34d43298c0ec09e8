"""A rolling upgrade under load: peers of two programs side by side, then the next level."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Accepted, Reason, Rejected, Side, Submit
from peer.client.connection import ClientError, NodeClient, NodeRefusedError
from peer.replica.changes import Activate, Propose
from tests.simulator.levels import QUANTITY_MIN
from tests.support.real_mesh import MARKET, RealMesh, RealPeer, held_ports, order, pairs, wait_for
from tests.system.test_membership import members

NEXT = "tests.support.next_level"
PATIENCE_S = 60.0
pytestmark = pytest.mark.timeout(400)


class Load(threading.Thread):
    """A client of one peer that sends orders one by one, and each of them again, under its client
    id, until its result is known."""

    def __init__(self, peer: RealPeer) -> None:
        super().__init__(daemon=True)
        self.account = peer.folder.name
        self.accepted: list[str] = []
        self._where = peer.where
        self._done = threading.Event()

    def run(self) -> None:
        with NodeClient(self._where, timeout_s=3) as client:
            number = 0
            while not self._done.wait(0.02):
                name = str(number := number + 1)
                mine = Submit(
                    0, self.account, MARKET, Side.BUY, 2, 2 * (number % 50 + 1), client_id=name
                )
                while not self._took(client, mine):
                    self._done.wait(0.05)
                self.accepted.append(name)

    @staticmethod
    def _took(client: NodeClient, mine: Submit) -> bool:
        """Whether its result is known. If not, the peer stops, or has no quorum."""
        try:
            client.execute([mine])
        except NodeRefusedError as error:
            return error.code == "result_lost" and Load._is_open(client, mine)
        except ClientError:
            return False
        return True

    @staticmethod
    def _is_open(client: NodeClient, mine: Submit) -> bool:
        """Its result was lost with the process that took it."""
        try:
            found = client.orders(mine.account).open
        except ClientError:
            return False
        return mine.client_id in [one.client_id for one in found]

    def finish(self) -> None:
        """Send no more. The last order has its result."""
        self._done.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with held_ports(6) as ports, RealMesh(tmp_path, []) as found:
        found.tell_places(pairs(ports))
        found.start()
        yield found


def upgrade(mesh: RealMesh, peer: RealPeer) -> None:
    """Stop a peer, and start the next program in its place."""
    peer.stop()
    peer.change_program(NEXT)
    peer.start()
    mesh.wait_quorum([peer])


def outcome(peer: RealPeer, price: int, quantity: int = 2) -> Reason | None:
    """What the market says to an order that trades with nobody."""
    [result] = peer.client.execute([order("probe", Side.BUY, price, quantity)])
    [event] = result.events
    assert isinstance(event, Accepted | Rejected)
    return event.reason if isinstance(event, Rejected) else None


def test_peers_are_upgraded_one_at_a_time_under_load(mesh: RealMesh) -> None:
    """ORDER-51, ORDER-52: nothing acknowledged is lost or doubled."""
    first, second, third = mesh.peers
    loads = [Load(peer) for peer in mesh.peers]
    for load in loads:
        load.start()
    with pytest.raises(NodeRefusedError, match="knows level 1 at most"):
        first.client.govern([Propose(0, (Activate(2),))])
    upgrade(mesh, first)
    assert outcome(first, 101) is None, "the rules of level 1 hold on"
    upgrade(mesh, second)
    name = members(first, "activate", "2").split()[1].rstrip(":")
    said = members(second, "approve", name)
    assert "an approval that states level 2 is missing of peer3" in said
    assert first.mesh_view().level == 1
    upgrade(mesh, third)
    members(third, "approve", name)
    for peer in mesh.peers:
        view = peer.mesh_view(lambda seen: seen.level == 2, PATIENCE_S)
        assert view.level_known == 2
        assert [member.level for member in view.members] == [2, 2, 2]
        assert outcome(peer, 101) is Reason.INVALID_PRICE
        assert outcome(peer, 102, QUANTITY_MIN - 1) is Reason.QUANTITY_TOO_SMALL
    for load in loads:
        sent = len(load.accepted)
        wait_for("orders at level 2", lambda load=load, n=sent: len(load.accepted) > n + 3)
    for load in loads:
        load.finish()
    mesh.agreed()
    for load in loads:
        open_ = [one.client_id for one in first.client.orders(load.account).open]
        assert sorted(open_) == sorted(load.accepted)


def test_a_peer_halts_before_a_level_that_it_does_not_know(mesh: RealMesh) -> None:
    """ORDER-52: and goes on once it is upgraded, with what it had acknowledged."""
    first, second, third = mesh.peers
    for peer in (first, second):
        upgrade(mesh, peer)
    name = members(first, "activate", "2", "--force").split()[1].rstrip(":")
    members(second, "approve", name)
    for _ in range(2):
        view = third.mesh_view(lambda seen: bool(seen.halted), PATIENCE_S)
        assert "upgrade this peer to at least level 2" in view.halted
        assert view.level == 1
        third.stop()
        third.start()
    wait_for("both went on", lambda: outcome(first, 101) is Reason.INVALID_PRICE)
    upgrade(mesh, third)
    view = third.mesh_view(lambda seen: seen.level == 2, PATIENCE_S)
    assert not view.halted
    assert outcome(third, 102) is None
    mesh.agreed()
    assert third.client.orders("probe").open
    third.stop()
    third.change_program("peer")
    third.start()
    assert third.process is not None
    assert third.process.wait(PATIENCE_S) == 1, "no member goes back"
    assert "error: the mesh follows the rules of level 2" in third.log()
