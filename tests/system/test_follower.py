"""Anybody can run a gateway: a peer that only follows the mesh, and trades with keys."""

import itertools
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Accepted, Side, Submit
from peer import Signer
from peer.client.connection import NodeClient, NodeRefusedError
from peer.client.signer import signature_of
from peer.membership.identity import Identity
from peer.replica.signed import Signed
from peer.storage import data_folder
from tests.support.real_mesh import MARKET, RealMesh, RealPeer, held_ports, order, pairs, wait_for

PATIENCE_S = 60.0
pytestmark = pytest.mark.timeout(400)


class Followed(RealMesh):
    """Three members, and a peer that only follows them; with a page."""

    def add_follower(self) -> RealPeer:
        folder = self.file.parent / "follower"
        data_folder.create(folder)
        peer = RealPeer(folder, self.file, [], ui=True)
        for member, (port, _) in zip(self.config.members, self.places, strict=True):
            peer.add_options([f"--at={member.name}=127.0.0.1:{port}"])
        peer.start()
        self.follower = peer
        self.wait_quorum([peer])
        return peer

    def __exit__(self, *error: object) -> None:
        self.follower.close()
        super().__exit__(*error)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Followed]:
    with held_ports(6) as ports, Followed(tmp_path, [], observers="any") as found:
        found.tell_places(pairs(ports))
        found.start()
        found.add_follower()
        yield found


def signer(mesh: RealMesh) -> Signer:
    return Signer(Identity.ephemeral(), mesh.config.id.hex())


def signed(by: Signer, price: int, client_id: str = "") -> Signed:
    return by.sign(Submit(0, by.account, MARKET, Side.BUY, 1, price, client_id=client_id))


def ask(url: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_signed_orders_trade_through_a_follower(mesh: Followed) -> None:
    """ORDER-56: it says what it is, refuses plain orders, and has the results of signed ones."""
    follower, mine = mesh.follower, signer(mesh)
    with pytest.raises(NodeRefusedError, match="forwards signed orders, and takes no others"):
        follower.client.execute([order("ann", Side.BUY, 1, 1)])
    [result] = follower.client.execute([signed(mine, 100)])
    assert isinstance(result.events[0], Accepted)
    sold = mesh.peers[1].client.execute([order("bob", Side.SELL, 100, 1)])
    assert len(sold[0].events) == 2
    assert len(mesh.agreed([*mesh.peers, follower]).trades) == 1
    first, second = signed(mine, 90), signed(mine, 91)
    assert len(follower.client.execute([first, second])) == 2
    with pytest.raises(NodeRefusedError) as refused:
        follower.client.execute([first])
    assert refused.value.code == "nonce_used"

    page = wait_for("its page", lambda: re.search(r"serving at (http://\S+)", follower.log()))
    base = page.group(1).split("/?")[0].rstrip("/")
    wait_for("it is ready", lambda: ask(base + "/readyz") == (200, {"status": "follower"}))
    _, view = ask(base + "/mesh")
    assert (view["role"], len(view["peers"])) == ("follower", 3)
    assert (
        view["peer"]
        == f"follower-{Identity.load(follower.folder / data_folder.KEY_FILE).public.hex()[:8]}"
    )
    order_ = {"market": MARKET, "side": "buy", "quantity": "0.00000001", "price": "0.95"}
    status, body = ask(base + "/order", order_ | {"account": "ann"})
    assert status in (401, 403, 503)
    mine_ = signed(mine, 95)
    body = order_ | {"account": mine.account, "signature": signature_of(mine_)}
    status, placed = ask(base + "/order", body)
    assert status == 200, placed
    assert placed["status"] == "open"


def test_every_order_counts_once_while_members_die(mesh: Followed) -> None:
    """ORDER-56: the members die and return in turn, also those that had just answered."""
    follower, mine = mesh.follower, signer(mesh)
    done, ended = [], threading.Event()

    def trade() -> None:
        with NodeClient(follower.where, timeout_s=PATIENCE_S) as client:
            for number in itertools.count(1):
                if ended.is_set():
                    return
                [result] = client.execute([signed(mine, number % 90 + 1, str(number))])
                assert isinstance(result.events[0], Accepted), result
                done.append(result.id)

    trader = threading.Thread(target=trade, daemon=True)
    trader.start()
    for peer in mesh.peers:
        sent = len(done)
        wait_for("orders", lambda sent=sent: len(done) > sent + 10, PATIENCE_S)
        peer.kill()
        sent = len(done)
        wait_for("orders without it", lambda sent=sent: len(done) > sent + 10, PATIENCE_S)
        peer.start()
        mesh.wait_quorum([peer])
    ended.set()
    trader.join(PATIENCE_S)
    assert not trader.is_alive()
    mesh.agreed([*mesh.peers, follower])
    found = [one.client_id for one in follower.client.orders(mine.account).open]
    assert sorted(found, key=int) == [str(number + 1) for number in range(len(done))]
    assert len({id_ % 256 for id_ in done}) > 1, "several members took them"
