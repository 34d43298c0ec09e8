"""What local programs hear from a node over their connections: all of it, in order."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Accepted, Side
from peer.client import programs
from peer.client.connection import NodeClient, NodeRefusedError
from peer.client.endpoint import Local, endpoint
from peer.client.protocol import (
    AccountUpdate,
    Committed,
    Done,
    Execute,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    Queued,
    State,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
    topic,
)
from tests.support.alone import Alone
from tests.support.local_program import ALL, ANSWER_S, Program
from tests.support.real_mesh import MARKET, MARKETS, OTHER_MARKET, order
from tests.support.web_gateway import lone_peer, lone_peer_again

WINDOW = 20  # requests that are under way at once


@pytest.fixture
def client(tmp_path: Path) -> Iterator[NodeClient]:
    with lone_peer(tmp_path, MARKETS) as data, NodeClient(endpoint(data), ANSWER_S) as client:
        yield client


# The order


def test_an_update_arrives_before_the_answer_that_reports_it(tmp_path: Path) -> None:
    """With many commands under way: Queued after its PendingUpdate, Done after its Committed."""
    with lone_peer(tmp_path, MARKETS) as data, Program(endpoint(data)) as program:
        program.send(b"feed", Subscribe(ALL))
        told: set[int] = set()  # ids in PendingUpdates
        accepted: set[int] = set()
        sent = done = commit = 0
        deadline_s = time.monotonic() + ANSWER_S
        while done < 500 and time.monotonic() < deadline_s:
            while sent < 500 and sent - done < WINDOW:
                program.send(b"%d" % sent, Execute([order("ann", Side.BUY, 1 + sent % 90, 1)]))
                sent += 1
            for _, message in program.read(wait_ms=1):
                match message:
                    case PendingUpdate(pending=pending):
                        told |= {number for number, _ in pending}
                    case Queued(ids):
                        assert told >= set(ids)
                    case AccountUpdate(events=events):
                        accepted |= {e.id for e in events if isinstance(e, Accepted)}
                    case Committed():
                        commit = message.commit
                    case Done(at, _, results):
                        assert at <= commit
                        assert accepted >= {result.id for result in results}
                        done += len(results)
        assert done == 500


def test_a_query_is_answered_in_order_with_the_updates(
    client: NodeClient,
) -> None:
    feed = client.feed(topic("market", MARKET), topic("commit"))
    seq = 0
    for price in range(1, 200):
        client.send(Execute([order("ann", Side.BUY, price, 1)]))
        state = client.state(MARKET, 1)
        updates = [m for m in feed._waiting if isinstance(m, MarketUpdate)]
        seqs = [update.seq for update in updates]
        assert seqs == list(range(seq + 1, state.seq + 1)), "all that it covers, and no more"
        feed._waiting.clear()
        seq = state.seq
    assert seq > 10


def test_two_feeds_of_one_client_are_independent(client: NodeClient) -> None:
    names = ("ann", "bob")
    feeds = [client.feed(topic("account", name), timeout_s=ANSWER_S) for name in names]
    for feed in feeds:
        assert isinstance(next(feed), Orders)
    for price in (10, 11):
        client.execute([order(name, Side.BUY, price, 1) for name in names])
    for name, feed in reversed([*zip(names, feeds, strict=True)]):  # whose came last is read first
        heard = [next(feed) for _ in range(4)]
        assert [each.account for each in heard if isinstance(each, AccountUpdate)] == [name] * 2
        assert [each.account for each in heard if isinstance(each, PendingUpdate)] == [name] * 2


def test_a_feed_begins_with_the_present_orders(client: NodeClient) -> None:
    """Nothing falls between the question and the subscription: they are one."""
    first = client.execute([order("ann", Side.BUY, 10, 1)])[0].id
    feed = client.feed(topic("account", "ann"), timeout_s=ANSWER_S)
    second = client.execute([order("ann", Side.BUY, 11, 1)])[0].id
    orders, pending, update = (next(feed) for _ in range(3))
    assert isinstance(orders, Orders)
    assert [each.id for each in orders.open] == [first]
    assert isinstance(pending, PendingUpdate)
    assert [number for number, _ in pending.pending] == [second]
    assert isinstance(update, AccountUpdate)
    assert [event.id for event in update.events if isinstance(event, Accepted)] == [second]
    assert (pending.seq, update.seq) == (orders.seq + 1, orders.seq + 2)


def test_a_withdrawn_command_is_reported(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        peer.execute(order("ann", Side.BUY, 1, 1))
        peer.node._propose = lambda now_ms: None  # type: ignore[method-assign]
        feed = peer.client.feed(topic("account", "ann"))
        ((number,),) = [a.ids for a in peer.execute(order("ann", Side.BUY, 2, 1), answers=1)]  # type: ignore[union-attr]
        assert peer.ask(lambda: peer.client.withdraw("ann", [number])) == [number]
        orders, taken, withdrawn = feed.batch(0)
        assert isinstance(orders, Orders)
        assert isinstance(taken, PendingUpdate)
        assert isinstance(withdrawn, PendingUpdate)
        assert (len(taken.pending), withdrawn.withdrawn) == (1, [number])


# What may be subscribed to


def test_an_unknown_topic_is_refused(client: NodeClient) -> None:
    for wanted in ("market/none", "market", "account/", "account/" + "a" * 65, "weather", ""):
        feed = client.feed(topic("commit"), wanted)
        with pytest.raises(NodeRefusedError, match=r"no topic|no market"):
            next(feed)
    feed = client.feed(topic("commit"), topic("mesh"), topic("market", OTHER_MARKET))
    kinds = [type(next(feed)) for _ in range(3)]
    assert kinds == [Mesh, State, Committed]


def test_a_feed_closed_early_ends(client: NodeClient) -> None:
    with client.feed(*ALL) as feed:
        client.execute([order("ann", Side.BUY, 1, 1)])
        for price in range(50):
            client.send(Execute([order("ann", Side.BUY, price + 1, 1)]))
    assert list(feed) == []
    state = client.state(MARKET)
    assert len(client.orders("ann").open) >= state.bids[0][2]
    assert client.markets().markets


def test_no_update_follows_an_unsubscribe(tmp_path: Path) -> None:
    with lone_peer(tmp_path, MARKETS) as data, Program(endpoint(data)) as program:
        for name in (b"feed", b"other"):
            program.send(name, Subscribe(ALL))
        for number in range(50):
            program.send(b"order", Execute([order("ann", Side.BUY, number + 1, 1)]))
        for name in (b"feed", b"none"):
            program.send(name, Unsubscribe())
        for number in range(50):
            program.send(b"order", Execute([order("ann", Side.BUY, number + 1, 1)]))
        read, done = [], 0
        for name, message in program.read(wait_ms=20_000):
            read.append((name, message))
            done += len(message.results) if isinstance(message, Done) else 0
            if done == 100:
                break
        of = {name: [m for other, m in read if other == name] for name in (b"feed", b"other")}
        assert of[b"feed"][-1] == Unsubscribed()
        assert of[b"feed"].count(Unsubscribed()) == 1
        assert (b"none", Unsubscribed()) in read
        assert len(of[b"other"]) > len(of[b"feed"])


# Connections that end


def test_after_a_restart_of_the_node_a_feed_continues_from_its_state(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with lone_peer(tmp_path, MARKETS) as data:
            client = stack.enter_context(NodeClient(endpoint(data), ANSWER_S))
            feed = client.feed(topic("market", MARKET), timeout_s=ANSWER_S)
            client.execute([order("ann", Side.BUY, 10, 1)])
            assert [type(next(feed)) for _ in range(2)] == [State, MarketUpdate]
        with lone_peer_again(tmp_path):
            state = next(feed)
            assert isinstance(state, State)
            assert state.bids == [(10, 1, 1)]
            client.execute([order("ann", Side.BUY, 11, 1)])
            update = next(feed)
            assert isinstance(update, MarketUpdate)
            assert (update.bids, update.seq) == ([(11, 1, 1)], state.seq + 1)


def test_after_a_lost_connection_a_feed_continues_from_the_state(tmp_path: Path) -> None:
    """The node itself stays, and knows nothing of the old connection soon."""
    with Alone(tmp_path / "me") as peer:
        feed = peer.client.feed(*ALL)
        peer.execute(order("ann", Side.BUY, 10, 1))
        feed.batch(0)
        node = peer.node
        node.local.close()
        node.local = Local(peer.context, endpoint(peer.folder), node._poller)
        node.publisher._local = node._requests._local = node.local
        deadline_s = time.monotonic() + ANSWER_S
        messages = []
        while len(messages) < 3 and time.monotonic() < deadline_s:
            node._turn()
            messages += feed.batch(0.01)
        assert [type(message) for message in messages] == [State, Orders, Committed]
        peer.execute(order("ann", Side.BUY, 11, 1))
        kinds = [type(message) for message in feed.batch(0)]
        assert kinds == [PendingUpdate, MarketUpdate, AccountUpdate, Committed]


def test_nothing_is_kept_for_disconnected_programs(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        for number in range(programs.PROGRAMS_MAX + 5):
            with NodeClient(endpoint(peer.folder), ANSWER_S) as passing:
                feed = passing.feed(topic("account", f"quiet-{number}"))
                assert isinstance(peer.ask(lambda feed=feed: next(feed)), Orders)
        assert len(peer.node.local._programs._programs) <= programs.PROGRAMS_MAX
        with NodeClient(endpoint(peer.folder), ANSWER_S) as last:
            feed = last.feed(topic("market", MARKET))
            assert isinstance(peer.ask(lambda: next(feed)), State)
