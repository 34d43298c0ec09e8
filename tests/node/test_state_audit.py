"""Peers whose states differ find out in which orders, by asking each other."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import (
    HEAD_KEY,
    Cancel,
    HashTree,
    Leaf,
    Reduce,
    ids_of,
    key_of,
    leaf_part,
)
from peer.consensus.block import NO_ATTESTATION, Attestation
from peer.consensus.committee import Mode
from peer.consensus.committer import CHECKPOINT_EVERY
from peer.network.messages import Heard, Heartbeat, PartsIn
from peer.node.ledger import Ledger
from peer.node.state_fetcher import AUDIT_PAUSE_MS
from peer.replica.difference import ORDERS_NAMED_MAX, Pair, describe_differences
from peer.replica.recent import CHECKPOINTS_KEPT, PIECES_KEPT_MAX, RecentStates
from peer.replica.snapshot import HEAD, SEATS, TRADES, Frozen
from peer.replica.state_machine import Replica
from peer.storage import data_folder
from peer.storage.part_requests import PartsWanted
from peer.storage.state_audit import AUDIT_MS, PARTS_MAX
from tests.disk.world import NAMES, Told, World
from tests.node.test_snapshot import CONFIG, ledger
from tests.node.test_state_fetcher import Follower
from tests.support.pieces import Life, pieces_of

__all__ = ["ledger"]

OTHER = 2  # the member whose state differs


class Two:
    """A node, and a member's replica that has lived through the same but for what is done to it."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.node = Follower(ledger, folder)
        self.life = Life(1, CONFIG.committee)
        self.now_ms = 0
        self.shown = 0  # parts of the member's state

    @property
    def other(self) -> Replica:
        return self.life.replica

    def live(self, commits: int) -> None:
        for _ in range(commits):
            self.node.node.ledger.apply(self.life.commit()[0])

    def hear(self) -> None:
        """The member says which state it has."""
        claims = NO_ATTESTATION, 0, (True,) * 4
        beat = Heartbeat(CONFIG.id, 0, OTHER, 1, (0,) * 4, 0, self.other.attestation(), *claims)
        self.node.node._take(Heard(OTHER, beat), self.now_ms)

    def turn(self, ms: int = 1) -> list[PartsWanted]:
        self.now_ms += ms
        return self.node.turn(self.now_ms)

    def answer(self, wanted: PartsWanted) -> list[bytes]:
        """What the member shows that is honest, whatever has become of its state."""
        tree, found = self.other.recent.tree(wanted.commit), []
        for place in wanted.places if tree else ():
            root = tree.at(*place).root
            assert root is not None
            piece = self.other.recent.piece(wanted.commit, root.key) if type(root) is Leaf else b""
            assert piece is not None
            found.append(leaf_part(root.key, piece) if type(root) is Leaf else root.part)
        return found

    def settle(self, turns: int = 50) -> str:
        """What the alarm says in the end."""
        for _ in range(turns):
            for wanted in self.turn():
                assert wanted.member == OTHER
                parts = self.answer(wanted)
                self.shown += len(parts)
                self.node.node._take(PartsIn(*wanted[:3], parts), self.now_ms)
        [alarm] = self.node.node.mesh_status.alarms.texts
        return alarm


@pytest.fixture
def two(ledger: Ledger, tmp_path: Path) -> Iterator[Two]:
    two = Two(ledger, tmp_path)
    yield two
    two.node.close()


def test_the_alarm_names_the_orders_that_differ(two: Two) -> None:
    """ORDER-41."""
    two.live(60)
    gone = [order.id for order in two.other.exchange.open_orders("bob")][3::7][:4]
    for id_ in gone:
        two.other.exchange.apply(Cancel(0, "bob", id_))
    larger = next(o for o in two.other.exchange.open_orders("ann") if o.remaining > 1)
    two.other.exchange.apply(Reduce(0, "ann", larger.id, 1))
    two.live(4)
    two.hear()
    alarm = two.settle()
    assert alarm.startswith(f"m{OTHER} has another state after commit {CHECKPOINT_EVERY}: ")
    for id_ in gone:
        assert f"order {id_} exists only here" in alarm
    assert f"order {larger.id} remaining {larger.remaining} here" in alarm
    assert alarm.count("order ") == 5
    assert two.shown < 40


def test_the_alarm_names_them_though_both_books_have_changed(two: Two) -> None:
    two.live(60)
    gone = two.other.exchange.open_orders("bob")[-1].id
    two.other.exchange.apply(Cancel(0, "bob", gone))
    two.live(4)
    two.hear()
    two.live(2 * CHECKPOINT_EVERY)
    own, other = two.node.node.ledger.replica, two.other
    assert own.piece(key_of(gone)) != own.recent.piece(64, key_of(gone))
    assert other.recent.tree(64) is not None
    assert f"order {gone} exists only here" in two.settle()


def test_states_without_common_pieces_are_compared_in_part(two: Two) -> None:
    """ORDER-41."""
    two.live(3 * CHECKPOINT_EVERY)
    for order in two.other.exchange.open_orders("bob")[::2]:
        two.other.exchange.apply(Cancel(0, "bob", order.id))
    two.live(CHECKPOINT_EVERY)
    two.hear()
    alarm = two.settle()
    assert alarm.count("order ") <= ORDERS_NAMED_MAX
    assert alarm.count("order ") > 3
    assert two.shown < PARTS_MAX
    wanted = two.turn()
    assert wanted == []


@pytest.mark.parametrize("parts", [[], [b"noise"], [b"leaf" + bytes(50)]])
def test_the_audit_of_a_member_that_does_not_answer_ends_soon(two: Two, parts: list[bytes]) -> None:
    two.live(60)
    two.other.exchange.apply(Cancel(0, "bob", two.other.exchange.open_orders("bob")[0].id))
    two.live(4)
    two.hear()
    asked = 0
    while two.now_ms < 2 * AUDIT_MS:
        for wanted in two.turn(100):
            asked += 1
            two.node.node._take(PartsIn(*wanted[:3], parts), two.now_ms)
    assert asked <= 4
    [alarm] = two.node.node.mesh_status.alarms.texts
    assert alarm.endswith(two.other.attestation().digest.hex())


def test_a_member_is_not_audited_again_for_a_while(two: Two) -> None:
    two.live(60)
    two.other.exchange.apply(Cancel(0, "bob", two.other.exchange.open_orders("bob")[0].id))
    two.live(4)
    two.hear()
    two.settle()
    two.live(CHECKPOINT_EVERY)
    two.hear()
    assert two.turn() == []
    assert two.turn(AUDIT_PAUSE_MS // 2) == []
    assert two.turn(AUDIT_PAUSE_MS // 2) != []


def test_nodes_with_a_wrong_book_and_the_others_name_the_order(tmp_path: Path) -> None:
    """ORDER-41. The one that is outvoted has stopped by then, and answers all the same."""
    for name in NAMES[Mode.CRASH]:
        data_folder.create(tmp_path / name)
    with World(Mode.CRASH, tmp_path, Told(), seed=3) as world:
        wrong = world.nodes[1].ledger.replica.exchange
        while not (orders := wrong.open_orders("ann")):
            world.submit(0, 3)
            world.turn()
        order = orders[0]
        wrong.apply(Cancel(0, "ann", order.id))
        for _ in range(600):
            world.submit(0, 1)
            world.turn()
            texts = [t for node in world.nodes for t in node.mesh_status.alarms.texts]
            if sum(f"order {order.id} exists only" in text for text in texts) >= 3:
                break
        else:
            raise AssertionError(texts)
        assert world.nodes[1].halted
        assert any(text.startswith("bob has another state") for text in texts)


# In words


def row_pieces() -> tuple[int, bytes, bytes]:
    """A piece as it is at two commits."""
    life = Life(1)
    for _ in range(10):
        life.commit()
    before = pieces_of(life.replica)
    for _ in range(10):
        life.commit()
    after = pieces_of(life.replica)
    key = next(k for k in before if k < HEAD_KEY and after.get(k, b"") not in (b"", before[k]))
    return key, before[key], after[key]


def test_each_kind_of_piece_has_a_text() -> None:
    key, before, after = row_pieces()
    assert describe_differences([Pair(key, before, before)]) == []
    assert all(
        text.startswith("order ") for text in describe_differences([Pair(key, before, after)])
    )
    which = "orders {} to {}".format(*ids_of(key))
    assert describe_differences([Pair(key, None, after)]) == [
        f"{which}: this peer no longer has their piece"
    ]
    assert describe_differences([Pair(key, before, None)]) == [
        f"{which}: this peer no longer has their piece"
    ]
    assert describe_differences([Pair(key, before, b"noise")]) == [
        f"{which}: their piece is unreadable"
    ]
    kinds = (HEAD_KEY, HEAD, TRADES + 1, SEATS + 3, 7 << 60, 8 << 60)
    assert describe_differences(Pair(kind, b"a", b"b") for kind in kinds) == [
        "markets, clock, halts or last prices",
        "next numbers of commands or trades, or the state of the commit rule",
        "the last trades of market 1",
        "nonces of accounts that are keys",
        "client ids of orders",
        "a piece of an unknown kind",
    ]


def test_only_the_first_differences_are_reported() -> None:
    pairs = [Pair(TRADES + n, b"a", b"b") for n in range(ORDERS_NAMED_MAX + 3)]
    *texts, rest = describe_differences(pairs, more=4)
    assert texts == [f"the last trades of market {n}" for n in range(ORDERS_NAMED_MAX)]
    assert rest == "and at least 7 more differences"


# What is kept for it


class Kept(Frozen):
    """Counts as so many pieces."""

    def __init__(self, count: int) -> None:
        self.count, self.closed = count, False

    @property
    def kept(self) -> int:
        return self.count

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("counts", "left"),
    [
        ([0] * 20, CHECKPOINTS_KEPT),
        ([PIECES_KEPT_MAX, 5, 5, 5], 3),
        ([PIECES_KEPT_MAX // 2] * 6, 3),
        ([2 * PIECES_KEPT_MAX] * 3, 1),
    ],
)
def test_the_memory_for_earlier_states_is_bounded(counts: list[int], left: int) -> None:
    recent, frozen = RecentStates(), [Kept(count) for count in counts]
    for commit, one in enumerate(frozen):
        recent.add(commit, HashTree(), one)
    open_ = [commit for commit, one in enumerate(frozen) if not one.closed]
    assert open_ == list(range(len(counts) - left, len(counts)))
    assert [c for c in range(len(counts)) if recent.tree(c) is not None] == open_


def test_pieces_of_the_last_checkpoints_are_as_they_were() -> None:
    life = Life(2)
    states: dict[int, dict[int, bytes]] = {}
    for number in itertools.count(1):
        life.commit()
        if number % CHECKPOINT_EVERY == 0:
            states[number] = pieces_of(life.replica)
        if len(states) == CHECKPOINTS_KEPT + 2:
            break
    kept = [commit for commit in states if life.replica.recent.tree(commit) is not None]
    assert kept == list(states)[-CHECKPOINTS_KEPT:]
    for commit in kept:
        tree = life.replica.recent.tree(commit)
        assert tree is not None
        assert [key for key, _ in tree] == list(states[commit])
        for key, piece in states[commit].items():
            assert life.replica.recent.piece(commit, key) == piece
    assert life.replica.recent.piece(CHECKPOINT_EVERY, HEAD) is None
    assert Attestation(kept[-1], tree.digest) == life.replica.attestation()
