"""SIGTERM under load, on real peers: what was acknowledged is ordered before or after, and once."""

import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from discovery.grapes import running_grapes
from engine import Accepted, Side
from peer.client.protocol import Done, Execute, Queued, Refused, Reply
from peer.replica.execution_record import decode
from peer.storage.data_folder import JOURNAL_FILE
from tests.support.journal_history import stored_records
from tests.support.real_mesh import RealMesh, RealPeer, order, random_orders, wait_for

KEPT = "commands are not ordered yet: stored"


@pytest.fixture(scope="module")
def grapes() -> Iterator[list[str]]:
    with running_grapes() as running:
        yield [grape.spec.url for grape in running]


def terminate(peer: RealPeer) -> None:
    """SIGTERM, without waiting."""
    assert peer.process is not None
    peer.process.send_signal(signal.SIGTERM)


class Answers:
    """All that a client is told about its requests."""

    def __init__(self) -> None:
        self.queued: dict[bytes, list[int]] = {}
        self.done: dict[bytes, int] = {}
        self.refused: dict[bytes, str] = {}

    def note(self, request: bytes, reply: Reply) -> None:
        match reply:
            case Queued(ids):
                self.queued[request] = ids
            case Done(results=results):
                self.done[request] = self.done.get(request, 0) + len(results)
            case Refused(code):
                assert request not in self.refused
                self.refused[request] = code
            case _:
                raise AssertionError(f"told {reply}")

    @property
    def ids(self) -> set[int]:
        """Of all that was acknowledged."""
        return {id_ for ids in self.queued.values() for id_ in ids}


def taken(peer: RealPeer) -> Counter[int]:
    """How often each order of account a was taken or rejected, by the peer's journal."""
    count: Counter[int] = Counter()
    for data in stored_records(peer.folder / JOURNAL_FILE).values():
        record = decode(data)
        new = [e for each in record.events for e in each if isinstance(e, Accepted)]
        count.update(e.id for e in (*new, *record.rejected) if e.account == "a")
    return count


def test_a_restart_under_load_loses_nothing(tmp_path: Path, grapes: list[str]) -> None:
    rng = random.Random(1)
    with RealMesh(tmp_path, grapes) as mesh:
        mesh.start()
        peer = mesh.peers[0]
        everything: set[int] = set()
        for turn in range(3):
            answers = Answers()
            sent = [peer.client.send(Execute(random_orders(rng, "a", 20))) for _ in range(100)]
            while len(answers.queued) < 20 * (turn + 1):
                answer = peer.client.receive(10)
                assert answer is not None
                answers.note(*answer)
            terminate(peer)
            assert peer.process is not None
            assert peer.process.wait(20) == 0
            while (answer := peer.client.receive(0.5)) is not None:
                answers.note(*answer)
            check(answers, sent, peer)
            everything |= answers.ids
            peer.start()
            mesh.wait_quorum([peer])
        mesh.agreed()
        for each in mesh.peers:
            wait_for(
                "every order in every journal",
                lambda each=each: everything <= taken(each).keys(),
            )
            assert set(taken(each).values()) == {1}


def check(answers: Answers, sent: Sequence[bytes], peer: RealPeer) -> None:
    """Every request that was acknowledged came to its end, or its sender knows that it is kept."""
    assert answers.queued.keys() <= set(sent)
    lost = [request for request, code in answers.refused.items() if code == "result_lost"]
    for request, ids in answers.queued.items():
        assert (answers.done.get(request, 0) == len(ids)) != (request in lost)
    for request, code in answers.refused.items():
        assert (code == "result_lost") == (request in answers.queued)
        assert code in ("stopping", "result_lost")
    assert (KEPT in peer.log()) == bool(lost)


def test_a_stopping_peer_still_orders_what_it_can(tmp_path: Path, grapes: list[str]) -> None:
    with RealMesh(tmp_path, grapes) as mesh:
        mesh.start()
        peer, answers = mesh.peers[0], Answers()
        sent = [peer.client.send(Execute([order("a", Side.BUY, 1, 1)])) for _ in range(200)]
        while not answers.queued:
            answer = peer.client.receive(10)
            assert answer is not None
            answers.note(*answer)
        terminate(peer)
        while len(answers.done) + len(answers.refused) < len(sent):
            answer = peer.client.receive(10)
            assert answer is not None
            answers.note(*answer)
        assert set(answers.refused.values()) <= {"stopping"}


def test_without_a_quorum_waiting_commands_are_counted_and_stored(
    tmp_path: Path, grapes: list[str]
) -> None:
    with RealMesh(tmp_path, grapes) as mesh:
        mesh.start()
        peer, *others = mesh.peers
        for other in others:
            other.kill()
        wait_for("the loss of the quorum", lambda: "NO QUORUM" in peer.log())
        orders = [order("a", Side.BUY, price, 1) for price in range(1, 6)]
        sent = [peer.client.send(Execute([one])) for one in orders]
        answers = Answers()
        while len(answers.queued) < len(orders):
            answer = peer.client.receive(10)
            assert answer is not None
            answers.note(*answer)
        terminate(peer)
        while len(answers.refused) < len(orders):
            answer = peer.client.receive(10)
            assert answer is not None
            answers.note(*answer)
        assert answers.refused == dict.fromkeys(sent, "result_lost")
        assert peer.process is not None
        assert peer.process.wait(20) == 0
        assert f"{len(orders)} {KEPT}" in peer.log()
        for each in mesh.peers:
            each.start()
        for each in mesh.peers:
            wait_for(
                "the orders",
                lambda each=each: {o.id for o in each.client.orders("a").open} == answers.ids,
            )
