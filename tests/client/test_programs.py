"""The updates and answers that each program gets, in which order, and what is kept for a slow
program. Each test is a script of calls, and checks the messages sent to each program."""

import random
from collections import deque

import msgspec
import pytest

from peer.client import programs as module
from peer.client.programs import PROGRAMS_MAX, TOPICS_MAX, Caller, Programs
from peer.client.protocol import (
    TOPICS_PER_REQUEST_MAX,
    Answer,
    Committed,
    Done,
    Lost,
    MarketUpdate,
    Refused,
    State,
    Streamed,
    topic,
)

ANN, BOB = b"ann's", b"bob's"
A, B, COMMIT = topic("market", "A"), topic("market", "B"), topic("commit")
decode = msgspec.msgpack.Decoder(Answer).decode


class Node:
    """Publishes commits to programs with queues for `room` messages."""

    def __init__(self, room: int = 1_000) -> None:
        self.room = room
        self.commit = 0
        self.queues: dict[bytes, deque[tuple[bytes, bytes]]] = {ANN: deque(), BOB: deque()}
        self.programs = Programs(self._send)

    def _send(self, caller: Caller, body: bytes) -> bool:
        if caller.connection not in self.queues:
            raise ConnectionError("gone")
        queue = self.queues[caller.connection]
        if len(queue) >= self.room:
            return False
        queue.append((caller.request, body))
        return True

    def _state_of(self, name: str) -> Streamed | Refused:
        seq = self.programs.seq(name)
        if name == COMMIT:
            return Committed(seq, self.commit, 0, 0, b"")
        kind, _, symbol = name.partition("/")
        if kind != "market" or not symbol.isupper():
            return Refused("unknown", f"no topic {name}")
        return State(symbol, seq, self.commit, 0, b"", [], [], [])

    def subscribe(self, connection: bytes, request: bytes, *names: str) -> None:
        self.programs.subscribe(Caller(connection, request), names, self._state_of)
        self.programs.check()

    def unsubscribe(self, connection: bytes, request: bytes) -> None:
        self.programs.unsubscribe(Caller(connection, request))
        self.programs.check()

    def start_again(self) -> None:
        for caller, request in self.programs.starting_again():
            self.programs.subscribe(caller, request.topics, self._state_of)
        self.programs.check()

    def turn(self, *symbols: str) -> None:
        """A commit that changes these markets."""
        self.start_again()
        self.commit += 1
        for symbol in symbols:
            name = topic("market", symbol)
            seq = self.programs.seq(name) + 1
            update = MarketUpdate(symbol, seq, self.commit, 0, [], [], [])
            self.programs.publish(update, name)
        seq = self.programs.seq(COMMIT) + 1
        self.programs.publish(Committed(seq, self.commit, 0, 0, b""), COMMIT)
        self.programs.check()

    def answer(self, connection: bytes, request: bytes = b"order") -> None:
        self.programs.reply(Caller(connection, request), Done(self.commit, 0, []))
        self.programs.check()

    def read(self, connection: bytes, count: int = 1_000_000) -> list[tuple[bytes, Answer]]:
        """The messages that a program reads now, without empty ones."""
        queue = self.queues[connection]
        taken = [queue.popleft() for _ in range(min(count, len(queue)))]
        return [(request, decode(body)) for request, body in taken if body]

    def said(self, connection: bytes, request: bytes = b"") -> list[str]:
        """The messages that a program reads, as words; optionally only those of one request."""
        return [_word(m) for name, m in self.read(connection) if not request or name == request]


def _word(message: Answer) -> str:
    match message:
        case State(market, seq, commit):
            return f"state {market} {seq} at {commit}"
        case MarketUpdate(market, seq, commit):
            return f"update {market} {seq} at {commit}"
        case Committed(_, commit):
            return f"commit {commit}"
        case Done(commit):
            return f"done {commit}"
        case Refused(code):
            return code
    return type(message).__name__.lower()


def test_a_topic_begins_with_its_state_and_commits_come_last() -> None:
    node = Node()
    node.turn("A")
    node.subscribe(ANN, b"1", COMMIT, A, A, B)
    node.turn("B", "A")
    node.answer(ANN)
    assert node.said(ANN) == [
        *("state A 0 at 1", "state B 0 at 1", "commit 1"),
        *("update B 1 at 2", "update A 1 at 2", "commit 2", "done 2"),
    ]
    assert node.said(BOB) == []


def test_two_subscriptions_of_one_program_are_separate() -> None:
    node = Node()
    node.subscribe(ANN, b"1", A, COMMIT)
    node.turn("A")
    node.subscribe(ANN, b"2", A)
    node.turn("A", "B")
    node.unsubscribe(ANN, b"1")
    node.turn("A")
    read = node.read(ANN)
    assert [_word(m) for name, m in read if name == b"1"] == [
        *("state A 0 at 0", "commit 0", "update A 1 at 1", "commit 1"),
        *("update A 2 at 2", "commit 2"),
    ]
    assert [_word(m) for name, m in read if name == b"2"] == [
        *("state A 1 at 1", "update A 2 at 2", "update A 3 at 3"),
    ]


def test_a_subscription_with_the_same_request_id_replaces_the_first() -> None:
    node = Node()
    node.subscribe(ANN, b"1", A)
    node.subscribe(ANN, b"1", B)
    node.turn("A", "B")
    assert node.said(ANN) == ["state A 0 at 0", "state B 0 at 0", "update B 1 at 1"]
    assert not node.programs.hears(A)


def test_a_subscription_gets_all_its_topics_or_none() -> None:
    node = Node()
    for wanted in ([A, "market/none"], ["weather"], [], [f"market/{n}" for n in range(101)]):
        node.subscribe(ANN, b"1", *wanted)
    node.turn("A")
    assert node.said(ANN) == ["unknown", "unknown", "invalid", "invalid"]
    assert not node.programs.hears(A)


def test_a_topic_without_listeners_is_not_sent_and_counts_from_zero_again() -> None:
    node = Node()
    node.subscribe(ANN, b"1", A)
    node.turn("A")
    node.unsubscribe(ANN, b"1")
    assert not node.programs.hears(A)
    node.turn("A")
    node.subscribe(ANN, b"2", A)
    node.turn("A")
    assert node.said(ANN, b"2") == ["state A 0 at 2", "update A 1 at 3"]


# A program that does not read


def test_a_program_that_reads_again_gets_the_states_and_then_its_answers() -> None:
    node = Node(room=4)
    node.subscribe(ANN, b"1", A, COMMIT)
    node.subscribe(BOB, b"1", A)
    node.turn("A")
    node.turn("A")  # the queue is full from here on
    node.answer(ANN, b"order 1")
    node.turn("A", "B")
    node.answer(ANN, b"order 2")
    assert node.said(BOB) == ["state A 0 at 0", *(f"update A {n} at {n}" for n in (1, 2, 3))]
    assert node.said(ANN) == ["state A 0 at 0", "commit 0", "update A 1 at 1", "commit 1"]
    node.start_again()
    node.answer(ANN, b"order 3")
    read = node.read(ANN)
    assert [name for name, _ in read] == [b"1", b"1", b"1", b"order 1"]
    assert [_word(m) for _, m in read] == ["lost", "state A 3 at 3", "commit 3", "done 2"]
    node.start_again()
    assert [name for name, _ in node.read(ANN)] == [b"order 2", b"order 3"]
    node.turn("A")
    assert node.said(ANN) == ["update A 4 at 4", "commit 4"]


def test_a_state_without_room_is_sent_again() -> None:
    node = Node(room=3)
    node.subscribe(ANN, b"1", A, B, topic("market", "C"), topic("market", "D"))
    assert node.said(ANN) == [f"state {symbol} 0 at 0" for symbol in "ABC"]
    node.room = 6
    node.start_again()
    assert node.said(ANN) == ["lost", *(f"state {symbol} 0 at 0" for symbol in "ABCD")]


def test_a_subscription_that_lost_updates_does_not_affect_others() -> None:
    node = Node(room=3)
    node.subscribe(ANN, b"1", A)
    node.subscribe(ANN, b"2", B)
    node.turn("A", "B")
    assert node.said(ANN) == ["state A 0 at 0", "state B 0 at 0", "update A 1 at 1"]
    node.turn("A", "B")
    node.answer(ANN)
    assert node.said(ANN) == ["lost", "state B 0 at 1", "update A 2 at 2"]


def test_all_subscriptions_start_again_when_states_change_without_updates() -> None:
    node = Node()
    node.subscribe(ANN, b"1", A, COMMIT)
    node.turn("A")
    node.commit = 70
    node.programs.start_again()
    node.answer(ANN)
    node.start_again()
    assert node.said(ANN)[-4:] == ["lost", "state A 0 at 70", "commit 70", "done 70"]


def test_nothing_is_kept_of_a_disconnected_program() -> None:
    node = Node(room=2)
    for request in (b"1", b"2", b"3"):
        node.subscribe(ANN, request, A)
    node.answer(ANN)
    del node.queues[ANN]
    node.start_again()
    assert not node.programs.hears(A)
    assert node.programs.unread(ANN) == 0
    node.subscribe(BOB, b"1", A)
    del node.queues[BOB]
    node.turn("A")
    node.answer(BOB)
    assert not node.programs.hears(A)


def test_the_number_of_programs_is_limited() -> None:
    node = Node()
    for number in range(PROGRAMS_MAX):
        node.queues[b"%d" % number] = deque()
        node.subscribe(b"%d" % number, b"1", A)
    node.subscribe(ANN, b"1", A)
    assert node.said(ANN) == ["busy"]
    node.subscribe(b"7", b"2", B)
    assert node.said(b"7") == ["state A 0 at 0", "state B 0 at 0"]
    del node.queues[b"3"]  # its market is quiet, so the node has not noticed
    node.subscribe(ANN, b"2", A)
    assert node.said(ANN) == ["state A 0 at 0"]
    assert node.said(b"5") == ["state A 0 at 0"], "an empty message is none"


def test_the_number_of_topics_of_a_program_is_limited() -> None:
    node = Node(room=10_000)
    names = [topic("market", "A" * n) for n in range(1, TOPICS_PER_REQUEST_MAX + 1)]
    for number in range(TOPICS_MAX // TOPICS_PER_REQUEST_MAX):
        node.subscribe(ANN, b"%d" % number, *names)
    node.read(ANN)
    node.subscribe(ANN, b"more", A)
    assert node.said(ANN) == ["busy"]
    node.subscribe(ANN, b"0", *names)  # in the place of others
    assert len(node.said(ANN)) == TOPICS_PER_REQUEST_MAX


def test_many_subscriptions_start_again_over_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STARTING_AGAIN_MAX", 3)
    node = Node()
    for number in range(5):
        node.subscribe(ANN, b"%d" % number, A)
    node.programs.start_again()
    node.answer(ANN)
    node.read(ANN)
    node.start_again()
    assert node.said(ANN) == ["lost", "state A 0 at 0"] * 3, "the answer waits for all of them"
    node.start_again()
    assert node.said(ANN) == [*["lost", "state A 0 at 0"] * 2, "done 0"]


# The order of messages


class Copy:
    """A program's knowledge from its messages. Checks that they are in sequence."""

    def __init__(self) -> None:
        self.seqs: dict[tuple[bytes, str], int] = {}
        self.commits: dict[tuple[bytes, str], int] = {}
        self.done = 0
        self.lost = 0

    def take(self, request: bytes, message: Answer) -> None:
        match message:
            case State(market, seq, commit):
                self.seqs[request, market] = seq
                self._reach(request, market, commit)
            case MarketUpdate(market, seq, commit):
                assert seq == self.seqs[request, market] + 1
                self.seqs[request, market] = seq
                self._reach(request, market, commit)
            case Committed(_, commit):
                self._reach(request, "commit", commit)
            case Done(commit):
                known = [at for (_, name), at in self.commits.items() if name == "commit"]
                assert min(known) >= commit, "an answer ahead of its update"
                assert commit > self.done, "answers out of order"
                self.done = commit
            case Lost():
                self.lost += 1

    def _reach(self, request: bytes, name: str, commit: int) -> None:
        assert commit >= self.commits.get((request, name), 0)
        self.commits[request, name] = commit


class Reader:
    """A program that subscribes twice, asks now and then, and reads at random times."""

    def __init__(self, node: Node, connection: bytes) -> None:
        self._node, self._connection = node, connection
        self.copy, self.answered = Copy(), 0
        node.subscribe(connection, b"1", A, B, COMMIT)
        node.subscribe(connection, b"2", COMMIT, A)

    def act(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self._node.answer(self._connection)
            self.answered = self._node.commit
        if rng.random() < 0.4:
            self.read(rng.randint(0, 30))

    def read(self, count: int = 1_000_000) -> None:
        for request, message in self._node.read(self._connection, count):
            self.copy.take(request, message)

    def check(self) -> None:
        """Check the program after it has read everything."""
        assert self.copy.done == self.answered
        for request in (b"1", b"2"):
            assert self.copy.commits[request, "commit"] == self._node.commit
            assert self.copy.seqs[request, "A"] == self._node.programs.seq(A)


@pytest.mark.parametrize("seed", range(20))
def test_an_answer_never_comes_before_its_updates(seed: int) -> None:
    """The node never waits, and its programs get everything."""
    rng = random.Random(seed)
    node = Node(room=rng.randint(4, 40))
    readers = [Reader(node, ANN), Reader(node, BOB)]
    for _ in range(400):
        node.turn(*(symbol for symbol in "AB" if rng.random() < 0.7))
        for reader in readers:
            reader.act(rng)
    for _ in range(400):
        node.start_again()
        for reader in readers:
            reader.read()
    for reader in readers:
        reader.check()
    assert sum(reader.copy.lost for reader in readers) > 0
