"""An order sent again under its client id is applied once, whatever happened in between."""

from pathlib import Path

import pytest

from engine import Accepted, Side, Submit
from peer.client.protocol import Done, Queued, Refused
from tests.support.alone import Alone
from tests.support.real_mesh import MARKET, order


def named(client_id: str, price: int = 100) -> Submit:
    return Submit(0, "a", MARKET, Side.BUY, 1, price, client_id=client_id)


def levels(peer: Alone) -> list[tuple[int, int, int]]:
    return peer.node.publisher.state(MARKET, 10).bids  # type: ignore[union-attr]


def test_the_answer_to_an_order_sent_again_is_that_to_the_first(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        queued, done = peer.execute(named("c"))
        assert isinstance(queued, Queued)
        assert isinstance(done, Done)
        assert [type(event) for event in done.results[0].events] == [Accepted]
        assert peer.execute(named("c")) == [Queued(queued.ids, again=queued.ids), done]
        [other] = peer.execute(named("c", price=5), answers=1)
        assert isinstance(other, Refused)
        assert other.code == "other_order"
        assert levels(peer) == [(100, 1, 1)]
        assert peer.execute(named("d"))[0] != queued
        assert levels(peer) == [(100, 2, 2)]


def test_a_restarted_peer_knows_the_order_but_not_its_result(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        [queued, _] = peer.execute(named("c"))
    with Alone(tmp_path / "me") as peer:
        again, lost = peer.execute(named("c"))
        assert isinstance(queued, Queued)
        assert again == Queued(queued.ids, again=queued.ids)
        assert isinstance(lost, Refused)
        assert lost.code == "result_lost"
        peer.execute(order("b", Side.BUY, 1, 1))
        assert levels(peer) == [(100, 1, 1), (1, 1, 1)]


def test_a_restarted_peer_knows_the_names_of_orders_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored but the order itself, in a block or on its own."""
    with Alone(tmp_path / "me") as peer:
        [in_block, _] = peer.execute(named("in a block"))
        monkeypatch.setattr(peer.node, "_propose", lambda now_ms: None)
        [waiting] = peer.execute(named("waits"), answers=1)
    for _ in range(2):
        with Alone(tmp_path / "me") as peer:
            for client_id, queued in (("in a block", in_block), ("waits", waiting)):
                assert isinstance(queued, Queued)
                again, *_ = peer.execute(named(client_id))
                assert again == Queued(queued.ids, again=queued.ids)
            assert levels(peer) == [(100, 2, 2)]


def test_client_ids_survive_snapshots_and_pruning(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        [queued, _] = peer.execute(named("first"))
        for n in range(150):
            peer.execute(named(str(n)))
        assert peer.journal.certified() is not None
    with Alone(tmp_path / "me") as peer:
        assert isinstance(queued, Queued)
        assert peer.execute(named("first"))[0] == Queued(queued.ids, again=queued.ids)
        assert levels(peer) == [(100, 151, 151)]
