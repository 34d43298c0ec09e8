"""What a node does with votes of its member, and what it tells programs of proposals."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import MarketStatus
from peer.client.connection import NodeClient, NodeRefusedError
from peer.client.endpoint import endpoint
from peer.client.protocol import Govern, MarketList, Proposals, Refused
from peer.replica.changes import AddMember, Approve, HaltMarket, Propose, RemoveMember, Withdraw
from tests.support.epochs import key_of
from tests.support.web_gateway import lone_peer

BTC = "BTC-USD"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeClient]:
    with lone_peer(tmp_path) as data, NodeClient(endpoint(data), timeout_s=20) as node:
        yield node


def test_each_change_of_a_proposal_is_published_once(node: NodeClient) -> None:
    with node.feed("proposals", "commit", timeout_s=20) as feed:
        first = next(each for each in feed if isinstance(each, Proposals))
        assert (first.open, first.ended, first.members[0].name) == ([], [], "solo")
        change = AddMember("new", key_of(7).public.hex())
        [made, approved] = node.govern([Propose(0, (change,)), Approve(0, -1, 0)])
        assert made.events == approved.events == []
        seen = [next(each for each in feed if isinstance(each, Proposals))]
        last = node.state(BTC).commit
        for each in feed:
            if isinstance(each, Proposals):
                seen.append(each)
            elif each.commit > last + 5:  # type: ignore[union-attr]
                break
            node.govern([Approve(0, made.id, 0)])  # changes nothing, but makes commits
    states = [view.open[0].state for view in seen]
    assert states[-1].startswith("accepted, but it waits: ")
    assert len(set(states)) == len(states) <= 2


def test_a_seat_that_no_member_has_cannot_be_removed(node: NodeClient) -> None:
    with pytest.raises(NodeRefusedError, match="no member has seat 78"):
        node.govern([Propose(0, (RemoveMember(77),))])


def test_markets_are_published_when_one_changes(node: NodeClient) -> None:
    with node.feed("markets", timeout_s=20) as feed:
        first = next(feed)
        assert isinstance(first, MarketList)
        assert first.statuses == [MarketStatus.OPEN] * 2
        node.govern([Propose(0, (HaltMarket(BTC),)), Approve(0, -1, 0)])
        halted = next(feed)
        assert isinstance(halted, MarketList)
        assert halted.statuses == [MarketStatus.HALTED, MarketStatus.OPEN]


def test_votes_that_cannot_count_are_refused_at_once(node: NodeClient) -> None:
    for vote, code in (
        (Propose(0, (HaltMarket("NO"),)), "impossible"),
        (Approve(0, 999, 0), "unknown_proposal"),
        (Withdraw(0, 999), "unknown_proposal"),
        (Approve(0, -1, 0), "invalid"),
    ):
        with pytest.raises(NodeRefusedError) as refused:
            node.govern([vote])
        assert refused.value.code == code
    node.send(Govern([]))
    answer = node.receive(10)
    assert answer is not None
    assert isinstance(answer[1], Refused)
