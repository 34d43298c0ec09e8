"""The peers' shares of a level: three peers with their own orders, one book."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.grapes import running_grapes
from engine import CancelAll, Side
from tests.support.real_mesh import RealMesh, order
from tests.support.web_gateway import Gateway, running_gateway, wait_for

STATE = Path(__file__).parents[2] / ".run"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path_factory.mktemp("mesh"), urls) as mesh:
            mesh.start()
            yield mesh


@pytest.fixture
def web(mesh: RealMesh) -> Iterator[Gateway]:
    with running_gateway(mesh.peers[2].folder) as gateway:
        yield gateway.wait_ready()
    for peer in mesh.peers:
        peer.client.execute([CancelAll(0, name) for name in ("alice", "bob")])


def test_a_level_shows_the_peers_that_took_its_orders(mesh: RealMesh, web: Gateway) -> None:
    first, second, third = (peer.client for peer in mesh.peers)
    first.execute([order("alice", Side.SELL, 10_050, 200)])
    second.execute([order("bob", Side.SELL, 10_050, quantity) for quantity in (50, 25)])
    second.execute([order("bob", Side.SELL, 10_058, 7), order("bob", Side.BUY, 9_999, 1)])
    wait_for("all of them here", lambda: sum(a[2] for a in web.get("/book")["asks"]) == 4)
    book = web.get("/book?peers=1")
    assert book["asks"] == [["100.50", "0.00000275", 3], ["100.58", "0.00000007", 1]]
    assert book["ask_peers"] == [
        [[1, "0.00000200", 1], [2, "0.00000075", 2]],
        [[2, "0.00000007", 1]],
    ]
    assert book["bid_peers"] == [[[2, "0.00000001", 1]]]
    assert web.get("/book?peers=1&depth=1&group=0.1")["ask_peers"] == book["ask_peers"][:1]
    merged = web.get("/book?peers=1&group=1")
    assert merged["ask_peers"] == [[[1, "0.00000200", 1], [2, "0.00000082", 3]]]
    assert "ask_peers" not in web.get("/book")
    assert web.ask("GET", "/book?peers=2").json["field"] == "peers"

    with web.websocket("?channels=book,peers") as stream:
        assert stream.channel("peers")["asks"][0] == ["100.50", book["ask_peers"][0]]
        third.execute([order("carol", Side.BUY, 10_050, 210)])
        told = stream.channel("peers", "delta")
        assert told["asks"] == [["100.50", [[2, "0.00000065", 2]]]]
        second.execute([CancelAll(0, "bob", "", Side.SELL)])
        gone = stream.channel("peers", "delta")
        assert gone["asks"] == [["100.50", []], ["100.58", []]]
        assert gone["seq"] == told["seq"] + 1
