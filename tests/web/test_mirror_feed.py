"""The mirrors at the moment of an answer, and the gateway's subscriptions."""

import threading
from pathlib import Path

import pytest

from engine import Market, MarketStatus, Side, Submit
from peer.client import levels
from peer.client.accounts import AccountMirror
from peer.client.endpoint import endpoint
from peer.client.protocol import (
    TOPICS_PER_REQUEST_MAX,
    AccountUpdate,
    Answer,
    Committed,
    GetMarkets,
    Level,
    MarketList,
    Markets,
    MarketUpdate,
    Mesh,
    Orders,
    Refused,
    Request,
    State,
    Subscribe,
    topic,
)
from peer.replica.order_state import OrderView, Status
from tests.support.web_gateway import lone_peer, wait_for
from web.config import Config
from web.gateway import Gateway as Served
from web.market_data.mirror_feed import ASK_SECONDS, MirrorFeed
from web.market_data.mirrors import Mirrors
from web.market_data.node_connection import UNREACHABLE, Call, OnAnswer
from web.market_data.pending_requests import Submission

WINDOW = 10
MARKETS = [Market("M", "1", "1"), Market("N", "1", "1")]


# With a real node


def test_a_client_that_gets_a_result_finds_it_in_the_mirrors(tmp_path: Path) -> None:
    """At once, on the link's thread, without waiting."""
    wrong: list[str] = []
    slots = threading.BoundedSemaphore(WINDOW)
    with lone_peer(tmp_path) as data:
        gateway = Served(Config(endpoint(data).address))
        gateway.start()
        try:
            wait_for("the node", lambda: gateway.unready() == [])
            gateway.feed.watch("ann")

            def look(submission: Submission) -> None:
                with gateway.mirrors.lock:
                    known = gateway.mirrors.accounts["ann"].open.get(submission.ids[0])
                    at = gateway.mirrors.commit, gateway.mirrors.books["BTC-USD"].commit
                if known is None:
                    wrong.append(f"{submission.ids} is not there")
                elif submission.is_complete:
                    slots.release()
                    if known.status != Status.OPEN or min(at) < submission.commit:
                        wrong.append(f"{known} at {at}, told of {submission.commit}")

            for number in range(300):
                assert slots.acquire(timeout=10)
                order = Submit(0, "ann", "BTC-USD", Side.BUY, 5, 1 + number % 50)
                gateway.pending.submit([order], "here", look)
            for _ in range(WINDOW):
                assert slots.acquire(timeout=10)
            assert wrong == []
            assert len(gateway.mirrors.accounts["ann"].open) == 300
        finally:
            gateway.stop()


# Subscriptions


class Node:
    """A link that records the requests and answers on command."""

    def __init__(self) -> None:
        self.is_connected = True
        self.calls: list[Call] = []
        self.ended: list[Call] = []
        self.again: list[Call] = []

    def request(self, request: Request, on_answer: OnAnswer) -> Call:
        self.calls.append(Call(request, on_answer))
        return self.calls[-1]

    def end(self, subscription: Call) -> None:
        self.ended.append(subscription)

    def ask_again(self, subscription: Call) -> None:
        self.again.append(subscription)

    def of(self, name: str) -> list[Call]:
        """The subscriptions to a topic."""
        calls = [call for call in self.calls if isinstance(call.request, Subscribe)]
        return [call for call in calls if name in call.request.topics]  # type: ignore[union-attr]

    def say(self, call: Call, *messages: Answer) -> None:
        for message in messages:
            call.on_answer(message)

    def lose(self) -> None:
        """The connection ends."""
        for call in self.calls:
            if call not in self.ended and isinstance(call.request, Subscribe):
                call.on_answer(UNREACHABLE)
        self.calls.clear()
        self.ended.clear()


class Heard:
    """Records what browsers would get."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.market_lists = 0

    def market_reset(self, market: str) -> None:
        self.words.append(f"reset {market}")

    def orders_reset(self, account: str) -> None:
        self.words.append(f"orders of {account}")

    def orders(self, account: AccountMirror, changed: list[OrderView]) -> None:
        self.words.append(f"{len(changed)} orders of {account.account}")

    def committed(self) -> None:
        self.words.append("commit")

    def mesh(self) -> None:
        self.words.append("mesh")

    def markets(self) -> None:
        self.market_lists += 1

    def proposals(self) -> None:
        self.words.append("proposals")


class World:
    def __init__(self) -> None:
        self.node, self.mirrors, self.heard = Node(), Mirrors(), Heard()
        self.feed = MirrorFeed(self.node, self.mirrors, self.heard, False)  # type: ignore[arg-type]
        self.connect()

    def connect(self) -> None:
        self.feed.ask()
        (question,) = [call for call in self.node.calls if call.request == GetMarkets()]
        self.node.say(question, Markets("me", "00", MARKETS))

    @property
    def markets(self) -> Call:
        return self.node.of("commit")[-1]

    def state(self, symbol: str, commit: int = 0, bids: list[Level] | None = None) -> State:
        return State(symbol, 0, commit, 0, b"", bids or [], [], [])


def test_markets_commits_and_the_mesh_are_one_subscription() -> None:
    world = World()
    topics = ["market/M", "market/N", "commit", "mesh", "markets", "proposals"]
    assert world.markets.request == Subscribe(topics)
    world.node.say(world.markets, world.state("M", 3), world.state("N", 3))
    world.node.say(world.markets, Committed(0, 3, 9, 5, b"d"))
    assert world.heard.words == ["reset M", "reset N", "commit"]
    assert (world.mirrors.commit, world.mirrors.round, world.mirrors.digest) == (3, 9, b"d")


def test_a_new_market_is_subscribed_to_at_once() -> None:
    """With all others: their books must fit together."""
    world = World()
    before = world.markets
    world.node.say(before, world.state("M"), world.state("N"))
    three = [*MARKETS, Market("O", "1", "1")]
    world.node.say(before, MarketList(1, three, [MarketStatus.OPEN] * 3))
    assert world.node.ended == [before]
    assert "market/O" in world.markets.request.topics  # type: ignore[union-attr]
    assert world.heard.market_lists == 2
    world.node.say(before, MarketUpdate("M", 7, 7, 0, [], [], []))  # of the one that has ended
    world.node.say(world.markets, world.state("O", bids=[(5, 1, 1)]))
    assert world.mirrors.books["O"].bids.levels(9) == [(5, 1, 1)]


def test_a_change_of_a_market_keeps_its_book() -> None:
    world = World()
    world.node.say(world.markets, world.state("M", bids=[(5, 1, 1)]), world.state("N"))
    changed = [Market("M", "1", "1", quantity_min=2), MARKETS[1]]
    closed = [MarketStatus.HALTED, MarketStatus.CLOSED]
    for _ in range(2):
        world.node.say(world.markets, MarketList(1, changed, closed))
    book = world.mirrors.books["M"]
    assert (book.units.market, book.status) == (changed[0], MarketStatus.HALTED)
    assert book.bids.levels(9) == [(5, 1, 1)]
    assert world.heard.market_lists == 2, "the second list was no news"
    assert world.node.ended == []


def test_of_too_many_markets_closed_ones_are_left_out() -> None:
    world = World()
    many = [Market(str(n), "1", "1") for n in range(TOPICS_PER_REQUEST_MAX)]
    statuses = [MarketStatus.CLOSED] * 50 + [MarketStatus.OPEN] * 50
    world.node.say(world.markets, MarketList(1, many, statuses))
    topics = world.markets.request.topics  # type: ignore[union-attr]
    assert len(topics) == TOPICS_PER_REQUEST_MAX
    assert {f"market/{n}" for n in range(50, 100)} < set(topics)
    assert "market/49" not in topics


def test_an_account_is_subscribed_to_once_and_unsubscribed() -> None:
    world = World()
    world.feed.watch("ann")
    world.feed.watch("ann")
    (ann,) = world.node.of(topic("account", "ann"))
    world.node.say(ann, Orders("ann", 0, [], []), AccountUpdate("ann", 1, 1, 0, []))
    assert world.heard.words == ["orders of ann", "0 orders of ann"]
    world.feed._unwatch("ann")
    assert world.node.ended == [ann]
    world.feed.watch("ann")
    first, second = world.node.of(topic("account", "ann"))
    world.node.say(first, AccountUpdate("ann", 2, 2, 0, []), Refused("unreachable", ""))
    assert not world.mirrors.accounts["ann"].ready, "that was for the one before"
    world.node.say(second, Orders("ann", 0, [], []))
    assert world.mirrors.accounts["ann"].ready


def test_after_a_lost_connection_all_is_subscribed_to_again() -> None:
    world = World()
    world.feed.watch("ann")
    world.node.say(world.markets, world.state("M", 9), world.state("N", 9))
    world.node.lose()
    world.connect()
    world.node.say(world.markets, world.state("M", 2), world.state("N", 2))
    world.node.say(world.markets, Committed(0, 2, 4, 5, b"new"))
    assert (world.mirrors.commit, world.mirrors.books["M"].commit) == (2, 2)
    assert len(world.node.of(topic("account", "ann"))) == 1


def test_a_refused_subscription_starts_again_with_the_next_request() -> None:
    world = World()
    world.feed.watch("ann")
    for call in (world.markets, *world.node.of(topic("account", "ann"))):
        world.node.say(call, Refused("busy", "too many"))
    world.node.calls.clear()
    world.connect()
    assert len(world.node.of("commit")) == len(world.node.of(topic("account", "ann"))) == 1
    world.node.calls.clear()
    world.connect()
    assert len(world.node.calls) == 1, "it has all it wants"


def test_regular_requests_show_that_the_node_does_not_answer() -> None:
    world = World()
    world.node.calls.clear()
    world.feed.tick(world.feed._asked + 0.9 * ASK_SECONDS)
    assert world.node.calls == []
    world.feed.tick(world.feed._asked + ASK_SECONDS)
    assert [call.request for call in world.node.calls] == [GetMarkets()]
    world.node.is_connected = False
    world.feed.tick(world.feed._asked + 5 * ASK_SECONDS)
    assert len(world.node.calls) == 1


def test_the_state_of_a_short_book_is_requested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "DEPTH_MAX", 4)
    world = World()
    deep: list[Level] = [(price, 1, 1) for price in (9, 8, 7, 6)]
    world.node.say(world.markets, world.state("M", bids=deep), world.state("N"))
    for seq, price in enumerate((9, 8, 7, 6), 1):
        gone = MarketUpdate("M", seq, seq, 0, [(price, 0, 0)], [], [])
        world.node.say(world.markets, gone, Committed(seq, seq, 0, 0, b""))
    assert world.node.again == [world.markets]
    world.node.say(world.markets, world.state("M", 4, [(1, 1, 1)]), world.state("N", 4))
    assert world.mirrors.books["M"].bids.levels(9) == [(1, 1, 1)]
    world.node.say(world.markets, Committed(5, 5, 0, 0, b""))
    assert len(world.node.again) == 1


def test_the_mirrors_are_stale_while_the_node_sends_nothing() -> None:
    world = World()
    world.node.say(world.markets, _mesh())
    assert world.mirrors.state == "live"
    world.feed.tick(world.feed._heard + 2)
    assert world.mirrors.state == "live"
    world.feed.tick(world.feed._heard + 3)
    assert (world.mirrors.state, world.heard.words) == ("stale", ["mesh", "mesh"])


def _mesh() -> Mesh:
    return Mesh(0, "me", "00", "crash", [], 1, True, 0, 0, b"", 0, 0.0, "", [])
