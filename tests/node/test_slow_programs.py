"""Programs that do not read what the node sends them: they harm no other, and lose nothing."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from engine import Cancel, Side
from peer.client import endpoint as endpoint_module
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoint
from peer.client.protocol import (
    AccountUpdate,
    Answer,
    Committed,
    Done,
    Execute,
    GetMarkets,
    Lost,
    Markets,
    MarketUpdate,
    Orders,
    PendingUpdate,
    Queued,
    Refused,
    State,
    Subscribe,
    topic,
)
from tests.support.alone import Alone
from tests.support.local_program import ALL, ANSWER_S, Program
from tests.support.real_mesh import MARKET, MARKETS, order
from tests.support.web_gateway import lone_peer


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alone]:
    """A node that keeps little for those who do not read."""
    monkeypatch.setattr(endpoint_module, "QUEUE_MESSAGES_MAX", 200)
    monkeypatch.setattr(endpoint_module, "UNREAD_BUSY", 20)
    monkeypatch.setattr(endpoint_module, "UNREAD_MAX", 200)
    with Alone(tmp_path / "me") as peer:
        yield peer


def is_slow(peer: Alone, connection: bytes) -> bool:
    """Whether the node has something for a program that does not read it."""
    return connection in peer.node.local._programs._slow


def unread(peer: Alone) -> int:
    """The most answers that wait for one program."""
    return max((len(p.unread) for p in peer.node.local._programs._programs.values()), default=0)


def connection_of(peer: Alone) -> bytes:
    """That of the first program that subscribes."""
    known = peer.node.local._programs._programs
    while not known:
        peer.node._turn()
    return next(iter(known))


def test_a_client_that_stops_reading_harms_no_other_and_gets_the_state_later(narrow: Alone) -> None:
    with Program(endpoint(narrow.folder)) as stopped:
        stopped.send(b"feed", Subscribe(ALL))
        connection = connection_of(narrow)
        reading = narrow.client.feed(*ALL)
        heard: list[int] = []
        number = slow = 0
        while slow < 50 and number < 5_000:
            number += 1
            narrow.execute(*(order("ann", Side.BUY, 1 + n % 9, 1) for n in range(20)))
            heard += [m.seq for m in reading.batch(0) if isinstance(m, MarketUpdate)]
            slow += is_slow(narrow, connection)
        assert heard == list(range(1, number + 1))
        for price in range(1, 10):  # and now it is quiet
            gone = [Cancel(0, "ann", o.id) for o in narrow.open_orders("ann") if o.price == price]
            narrow.execute(*gone)
        narrow.execute(order("ann", Side.BUY, 77, 5))
        messages: list[Answer] = []
        deadline_s = time.monotonic() + ANSWER_S
        while is_slow(narrow, connection) and time.monotonic() < deadline_s:
            messages += [message for _, message in stopped.read()]
            narrow.node._turn()
        messages += [message for _, message in stopped.read(100)]
        place = messages.index(Lost())
        old = [m.seq for m in messages[:place] if isinstance(m, MarketUpdate)]
        assert old == heard[: len(old)] != heard
        state, orders, committed = messages[place + 1 : place + 4]
        assert isinstance(state, State)
        assert state.bids == [(77, 5, 1)]
        assert isinstance(orders, Orders)
        assert len(orders.open) == 1
        assert isinstance(committed, Committed)
        assert committed.digest == state.digest == narrow.node.ledger.replica.latest().digest
        assert not is_slow(narrow, connection)
        narrow.execute(order("ann", Side.BUY, 78, 5))
        kinds = [type(message) for _, message in stopped.read(200)]
        assert kinds == [PendingUpdate, MarketUpdate, AccountUpdate, Committed]


def test_a_client_that_does_not_read_answers_is_refused_and_loses_none(narrow: Alone) -> None:
    """Until it reads: what was taken is answered, what was refused was not taken."""
    count = 0
    with Program(endpoint(narrow.folder)) as program:
        sent = 0
        while unread(narrow) < endpoint_module.UNREAD_BUSY and sent < 20_000:
            for _ in range(10):
                program.send(b"%d" % sent, Execute([order("bob", Side.BUY, 5, 1)]))
                sent += 1
            narrow.node._turn()
        for _ in range(10):
            program.send(b"%d" % sent, Execute([order("bob", Side.BUY, 5, 1)]))
            sent += 1
            narrow.node._turn()
        answers: dict[bytes, list[Answer]] = {}
        deadline_s = time.monotonic() + 3 * ANSWER_S
        while (len(answers) < sent or unread(narrow)) and time.monotonic() < deadline_s:
            for name, message in program.read():
                answers.setdefault(name, []).append(message)
            narrow.node._turn()
        for name, message in program.read(200):
            answers.setdefault(name, []).append(message)
        assert [int(name) for name in answers] == sorted(int(name) for name in answers)
        assert len(answers) == sent
        for told in answers.values():
            kinds = [type(answer) for answer in told]
            assert kinds in ([Queued, Done], [Refused])
            count += kinds == [Queued, Done]
        refused = [a for told in answers.values() for a in told if isinstance(a, Refused)]
        assert {a.code for a in refused} == {"busy"}
        assert len(narrow.open_orders("bob")) == count < sent
        program.send(b"at last", GetMarkets())
        for _ in range(3):
            narrow.node._turn()
        assert [type(message) for _, message in program.read(1_000)] == [Markets]


def test_requests_of_a_client_that_never_reads_are_finally_not_read(narrow: Alone) -> None:
    with Program(endpoint(narrow.folder)) as program:
        for _ in range(4_000):
            with contextlib.suppress(zmq.Again):
                program._dealer.send_multipart((b"1", b"nonsense"), zmq.NOBLOCK)
            narrow.node._turn()
        assert unread(narrow) == endpoint_module.UNREAD_MAX
    narrow.execute(order("bob", Side.BUY, 5, 1))


def test_a_client_that_does_not_read_its_feed_gets_the_state_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.client.connection.UNREAD_MAX", 20)
    with lone_peer(tmp_path, MARKETS) as data, NodeClient(endpoint(data), ANSWER_S) as client:
        feed = client.feed(topic("market", MARKET), timeout_s=ANSWER_S)
        for price in range(1, 60):
            client.execute([order("ann", Side.BUY, price, 1)])
        state = next(feed)
        assert isinstance(state, State)
        assert len(state.bids) == 59
        client.execute([order("ann", Side.BUY, 60, 1)])
        update = next(feed)
        assert isinstance(update, MarketUpdate)
        assert (update.bids, update.seq) == ([(60, 1, 1)], state.seq + 1)
