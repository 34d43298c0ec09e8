"""A turn of the loop: what it brings about, and in which order."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Accepted, Side, Submit
from peer.client.protocol import Done, Execute, Queued, Reply, Withdraw, Withdrawn
from peer.consensus.block import Block, Ref
from peer.consensus.committer import Commit
from peer.consensus.core import Ready
from peer.membership.epochs import Certificate
from peer.membership.identity import Identity
from peer.network.messages import ChainIn
from peer.node.effects import Effects
from peer.node.lifecycle import FOLLOWS, Lifecycle, State
from peer.node.timers import MESH_VIEW_MS, TURN_MS_MAX, Timers
from peer.replica.changes import Withdraw as TakeBack
from peer.storage.state_sync import Fetched, Manifest
from tests.support.alone import Alone
from tests.support.real_mesh import MARKET, order, wait_for

NEW_KEY = Identity.ephemeral().public
STAGES = ("persist", "send", "apply", "answer", "report")


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Alone]:
    with Alone(tmp_path / "me") as peer:
        yield peer


def recorded(peer: Alone, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages of what the node does, as it does it."""
    done: list[str] = []

    def watch(owner: Any, method: str, stage: str) -> None:
        original = getattr(owner, method)

        def noted(*args: Any, **kwargs: Any) -> Any:
            if method != "publish" or args[0] != []:
                done.append(stage)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, noted)

    node = peer.node
    watch(node.ledger.journal, "sync", "persist")
    watch(node.mesh, "publish", "send")
    watch(node.ledger, "apply", "apply")
    watch(node.publisher, "flush", "answer")
    watch(node.local, "reply", "answer")
    watch(node.mesh, "beat", "report")
    return done


def test_a_turn_persists_sends_applies_answers_and_reports_in_this_order(
    peer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORDER-29."""
    done = recorded(peer, monkeypatch)
    seen = set()
    for price in range(1, 41):
        peer.client.send(Execute([order("a", Side.BUY, price, 1)]))
        done.clear()
        peer.node._turn()
        assert [stage for stage, _ in itertools.groupby(done)] == sorted(
            set(done), key=STAGES.index
        )
        assert ("send" in done) <= (done[:1] == ["persist"])
        seen |= set(done)
    assert seen == set(STAGES)


def test_links_change_only_after_a_turn_has_received_from_them_all(peer: Alone) -> None:
    """A chain that a member sends comes while the links are gone through."""
    node = peer.node
    first = node.ledger.epochs.newest
    second = first.following((), [("new", NEW_KEY)], 1, 9, first.origin.time_ms, b"d" * 32)
    sign = Identity.load(peer.folder / "key").sign
    chain = [Certificate(second.origin, {0: sign(second.statement)})]
    node._take(ChainIn(0, chain), 0)
    assert node.ledger.epochs.newest.seal == second.seal
    assert not node.mesh.links
    wait_for("the links", lambda: node._turn() or list(node.mesh.links) == [1])


def answers(peer: Alone, turns: int = 20) -> list[tuple[bytes, Reply]]:
    """What the client is told during some turns."""
    told = []
    for _ in range(turns):
        peer.node._turn()
        while (answer := peer.client.receive(0)) is not None:
            told.append(answer)
    return told


def named(price: int) -> Submit:
    return Submit(0, "a", MARKET, Side.BUY, 1, price, client_id="c")


def test_a_client_id_is_free_again_in_the_turn_of_the_withdrawal(
    peer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is withdrawn is persisted at the end of the turn, and known before."""
    monkeypatch.setattr(peer.node, "_propose", lambda now_ms: None)
    first = peer.client.send(Execute([named(1)]))
    [(number, queued)] = answers(peer)
    assert isinstance(queued, Queued)
    assert number == first
    sent = [
        peer.client.send(Withdraw("a", queued.ids)),
        peer.client.send(Execute([named(2)])),
    ]
    told = dict(answers(peer))
    monkeypatch.undo()
    assert told[sent[0]] == Withdrawn(queued.ids)
    again = told[sent[1]]
    assert isinstance(again, Queued)
    assert again.again == []
    done = [reply for number, reply in answers(peer) if number == sent[1]]
    assert isinstance(done[0], Done)
    assert isinstance(done[0].results[0].events[0], Accepted)


def test_blocks_are_written_once_something_depends_on_them(
    peer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORDER-29: until then it is enough that their authors have them."""
    ledger, stored = peer.node.ledger, []
    for name in ("write", "sync"):
        monkeypatch.setattr(ledger.journal, name, lambda name=name: stored.append(name))
    ref = Ref(9, 0, b"d" * 32)
    block = Block(ref, ())
    ledger.persist(Effects(blocks=[block]))
    assert stored == []
    ledger.persist(Effects(commits=[Commit(1, ref, 1, (block,), None)]))
    ledger.persist(Effects(beat=True))
    assert stored == ["write", "sync"]


def test_nothing_is_deleted_while_commands_have_lost_their_block(
    peer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORDER-45: until they are stored on their own, a void block is all that has them."""
    node, apply, waiting = peer.node, peer.node._apply, []

    def lose(effects: Effects, now_ms: int) -> None:
        apply(effects, now_ms)
        if effects.commits and not waiting:
            waiting.append(node.submissions.put(TakeBack(0, 1), now_ms))
            node.submissions.save(now_ms, at_once=True)
            node.submissions.requeue(1)

    monkeypatch.setattr(node, "_apply", lose)
    tidied: list[bool] = []
    monkeypatch.setattr(node.ledger, "tidy", lambda: tidied.append(bool(node.submissions.unsaved)))
    monkeypatch.setattr(node._timers, "beats", lambda now_ms: False)
    peer.client.send(Execute([order("a", Side.BUY, 1, 1)]))
    wait_for("a turn after that", lambda: node._turn() or (waiting and tidied))
    assert not any(tidied)


def test_commands_already_ordered_in_a_fetched_state_are_not_sent_again(
    peer: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's blocks above a snapshot can decide commits that hold own commands."""
    node = peer.node
    node._turn()
    peer.client.send(Execute([order("a", Side.BUY, 1, 1)]))
    monkeypatch.setattr(node, "_propose", lambda now_ms: None)
    answers(peer)
    payload = node.submissions.next_payload()
    ref = Ref(9, 0, b"d" * 32)
    commit = Commit(node.ledger.commit + 1, ref, 1, (Block(ref, (), payload),), None)
    monkeypatch.setattr(node.ledger, "install", lambda fetched, now_ms: Ready(commits=[commit]))
    fetched = Fetched(1, Manifest(node.ledger.commit + 1, b""), {}, [])
    monkeypatch.setattr(node._fetcher, "fetched", lambda: fetched)
    node._take_over(0)
    monkeypatch.undo()
    [(_, done)] = answers(peer)
    assert isinstance(done, Done)
    assert node.submissions.outstanding == 0
    assert not node.submissions.waiting


# Its life


def test_the_lifecycle_allows_only_the_transitions_of_its_table() -> None:
    for before, after in itertools.product(State, State):
        life = Lifecycle()
        life.state = before
        assert life.enter(after) == (after in FOLLOWS[before])
        assert life.state is (after if after in FOLLOWS[before] else before)


def test_a_node_that_has_stopped_stays_so_and_says_why_it_did_first() -> None:
    life = Lifecycle()
    assert life.refusal() is None
    assert life.enter(State.STOPPING)
    assert not life.enter(State.RUNNING)
    assert life.halt("first")
    assert not life.halt("second", State.DISK_FAILED)
    assert not life.halt("third")
    assert (life.state, life.halted, life.takes_part) == (State.DISK_FAILED, "first", False)
    refusal = life.refusal()
    assert refusal is not None
    assert refusal.reason == "this peer has stopped: first"


def test_a_node_that_has_stopped_for_one_epoch_goes_on_in_the_next() -> None:
    """ORDER-50."""
    life = Lifecycle()
    assert life.halt("evidence", epoch=3)
    assert not life.go_on(3)
    assert life.halted == "evidence"
    assert life.go_on(4)
    assert (life.state, life.halted, life.refusal()) == (State.RUNNING, "", None)
    assert not life.go_on(5)


def test_a_lasting_reason_outlasts_the_epoch() -> None:
    """ORDER-50."""
    life = Lifecycle()
    life.halt("evidence", epoch=3)
    assert life.halt("two seals")
    assert not life.halt("evidence", epoch=4)
    assert not life.go_on(9)
    assert (life.state, life.halted) == (State.HALTED, "two seals")
    life = Lifecycle()
    life.halt("evidence", epoch=3)
    assert life.halt("the disk", State.DISK_FAILED)
    assert not life.go_on(4)


def test_timers() -> None:
    timers = Timers()
    assert timers.beats(1_000)
    assert not timers.beats(1_001)
    assert timers.wait_ms(1_001, [None]) == TURN_MS_MAX
    assert timers.wait_ms(1_001, [None, 1_011]) == 10
    assert timers.wait_ms(1_001, [500]) == 0
    assert timers.wait_ms(1_249, []) == 1
    assert timers.shows(1_000, changed=False)
    assert not timers.shows(1_000 + MESH_VIEW_MS - 1, changed=False)
    assert timers.shows(1_000 + MESH_VIEW_MS - 1, changed=True)
    timers.stop(5_000)
    assert not timers.is_over(6_999)
    assert timers.is_over(7_000)
