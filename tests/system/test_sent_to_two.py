"""ORDER-59: a client without an answer sends its order to another member, and has one order.

Real processes, kill -9, two gateways.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine import Side, Submit
from peer.client.connection import NoAnswerError, NodeClient
from peer.client.protocol import Done, Execute, Queued, Reply, Result, format_id
from tests.support.real_mesh import RealMesh, RealPeer, order, placed_mesh, wait_for
from tests.support.web_gateway import Gateway, buy, running_gateway


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    with placed_mesh(tmp_path) as mesh:
        yield mesh


def named(price: int) -> Submit:
    one = order("ann", Side.BUY, price, 7)
    return msgspec.structs.replace(one, client_id="mine")


def answers(client: NodeClient, number: bytes) -> tuple[Queued, Result]:
    """The answers to a request of one order."""
    told: list[Reply] = []
    while len(told) < 2:
        answer = client.receive(30)
        assert answer is not None, f"after {told} nothing came"
        assert answer[0] == number
        told.append(answer[1])  # type: ignore[arg-type]
    queued, done = told
    assert isinstance(queued, Queued), queued
    assert isinstance(done, Done), done
    return queued, done.results[0]


def send(peer: RealPeer, command: Submit) -> tuple[Queued, Result]:
    return answers(peer.client, peer.client.send(Execute([command])))


def restart_alone(mesh: RealMesh, alone: RealPeer) -> None:
    """All the others are dead, and this peer has no quorum."""
    for peer in mesh.peers:
        peer.kill()
    alone.start()
    wait_for("a peer without a quorum", lambda: _answers(alone))


def _answers(peer: RealPeer) -> bool:
    peer.check_runs()
    try:
        return peer.client.markets() is not None
    except NoAnswerError:
        return False


def test_the_answer_was_lost_with_the_peer(mesh: RealMesh) -> None:
    first, second, _ = mesh.peers
    first.client.send(Execute([named(100)]))
    wait_for("the order", lambda: second.state().bids)
    first.kill()
    queued, result = send(second, named(100))
    [mine] = queued.ids
    assert queued == Queued([mine], again=[mine])
    assert mine % 256 == 0, "the first member took it"
    assert (result.id, [type(event).__name__ for event in result.events]) == (mine, ["Accepted"])
    assert second.state().bids == [(100, 7, 1)]
    first.start()
    assert mesh.agreed(since=second.state().commit).bids == [(100, 7, 1)]


def test_both_members_have_the_order_before_it_is_ordered(mesh: RealMesh) -> None:
    """Each had it alone, on its disk: the order tells which one counts."""
    first, second, third = mesh.peers
    restart_alone(mesh, first)
    number = first.client.send(Execute([named(100)]))
    assert first.client.receive(20) == (number, Queued([256]))
    restart_alone(mesh, second)
    number = second.client.send(Execute([named(100)]))
    assert second.client.receive(20) == (number, Queued([256 + 1]))
    first.start()
    third.start()
    answer = second.client.receive(30)
    assert answer is not None
    assert isinstance(answer[1], Done)
    [result] = answer[1].results
    assert result.id == 256 + 1
    counts = result.first or result.id
    for peer in mesh.peers:
        _, again = send(peer, named(100))
        assert (again.first or again.id, again.events) == (counts, result.events)
    assert mesh.agreed().bids == [(100, 7, 1)]
    assert [one.id for one in third.client.orders("ann").open] == [counts]


def test_two_gateways_name_the_same_order(mesh: RealMesh) -> None:
    first, second, third = mesh.peers
    mine = buy("1.00", "0.00000007", "ann", client_id="mine")
    with running_gateway(first.folder) as one, running_gateway(second.folder) as two:
        restart_alone(mesh, first)
        assert _pending(one, mine) == format_id(256)
        restart_alone(mesh, second)
        assert _pending(two, mine) == format_id(256 + 1)
        first.start()
        third.start()
        told = [wait_for("the result", lambda web=web: _final(web, mine), 30) for web in (one, two)]
        assert told[0] == told[1]
        assert told[0]["status"] == "open"
        assert [order["id"] for order in two.get("/orders?account=ann")["orders"]] == [
            told[0]["id"]
        ]
        other = two.ask("POST", "/order", {**mine, "price": "2.00"})
        assert (other.status, other.json["type"]) == (409, "urn:p2p-orderbook:other_order")
    assert mesh.agreed().bids == [(100, 7, 1)]


def _pending(web: Gateway, order: dict[str, object]) -> str:
    """The id of an order that is taken and not ordered."""

    def ask() -> str | None:
        answer = web.ask("POST", "/order", order)
        return str(answer.json["id"]) if answer.status == 202 else None

    return wait_for("a pending order", ask, 30)


def _final(web: Gateway, order: dict[str, object]) -> dict[str, object] | None:
    answer = web.ask("POST", "/order", order)
    return answer.json if answer.status == 200 else None
