"""Snapshots in the journal: written bit by bit while the book moves on, good only as a whole."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Side
from peer.cli.audit import Inspection
from peer.consensus.block import Attestation, Block, Ref
from peer.consensus.committer import CHECKPOINT_EVERY
from peer.node.snapshots import PACE, Pace, Snapshots
from peer.replica.snapshot import HEAD
from peer.replica.state_machine import Replica
from peer.storage.journal import Journal
from tests.support.alone import Alone
from tests.support.epochs import first_epoch
from tests.support.pieces import COMMITTEE, MESH, Life, pieces_of
from tests.support.real_mesh import order, random_orders

KEY = b"k" * 32
SLOW = Pace(commits=64, pieces=1)


def live(life: Life, snapshots: Snapshots, commits: int, orders: int = 2) -> None:
    """Commits, after each of which some of a snapshot is written."""
    for _ in range(commits):
        snapshots.applied(*life.commit(orders), life.replica)
        snapshots.write()


def says(author: int, said: Attestation) -> Block:
    return Block(Ref(1, author, b"b" * 32), (), attestation=said, frame=b"%d" % author)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    journal = Journal(path, KEY, MESH)
    yield journal
    journal.close()


@pytest.mark.parametrize(
    "pace", [Pace(64), Pace(64, pieces=1), Pace(64, pieces=5), Pace(64, size=1)]
)
def test_a_snapshot_is_the_state_of_its_commit_though_the_book_changes(
    journal: Journal, pace: Pace
) -> None:
    """ORDER-31."""
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, pace)
    seen: dict[int, bytes] = {}
    for _ in range(1_500):
        live(life, snapshots, 1)
        stored = journal.snapshot()
        if stored is not None and stored.number not in seen:
            seen[stored.number] = stored.digest
            replica = Replica.restore(first_epoch(COMMITTEE), journal.pieces(stored.number))
            assert replica.tree.digest == stored.digest
            assert replica.agrees(life.replica.attestation()) in (True, None)
    assert len(seen) >= 2
    for number, digest in seen.items():
        tree = snapshots.tree_at(number)
        assert tree is None or tree.digest == digest
    assert snapshots.tree_at(max(seen)) is not None


def test_only_changed_pieces_are_written(journal: Journal) -> None:
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(64, pieces=1_000))
    live(life, snapshots, 64, orders=20)
    first = len(journal.pieces(64))
    live(life, snapshots, 64, orders=0)
    [count] = journal._db.execute("SELECT count(*) FROM pieces WHERE number = 128").fetchone()
    assert first > 50
    assert count == 4, "the heads, which have the time, who was present, and the last boundary"
    assert len(journal.pieces(128)) == first


def test_a_snapshot_takes_many_turns_and_is_invalid_before_its_end(journal: Journal) -> None:
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(64, pieces=10))
    for _ in range(64):
        snapshots.applied(*life.commit(), life.replica)
    expected = pieces_of(life.replica)
    for written in range(10, len(expected), 10):
        snapshots.write()
        [count] = journal._db.execute("SELECT count(*) FROM pieces").fetchone()
        assert count == written
        assert journal.snapshot() is None
        assert journal.piece(64, HEAD) is None
        assert snapshots.tree_at(64) is None
        life.commit()
    snapshots.write()
    assert journal.pieces(64) == expected


def test_a_turn_writes_little_beside_a_lone_command_and_more_after_many(journal: Journal) -> None:
    """And commits it at once: no later commit takes long because of a snapshot."""
    pace = Pace(64, pieces=2, step_commands=10, steps=4)
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, pace)
    for _ in range(64):
        snapshots.applied(*life.commit(), life.replica)
    assert snapshots.write_due() == pace.steps, "at most"
    written = 8
    for commands, steps in ((0, 1), (1, 1), (19, 2), (0, 1), (30, 4), (1_000, 4)):
        commit, _ = life.commit()
        snapshots.applied(commit, commands, life.replica)
        assert snapshots.write_due() == steps
        assert not journal._db.in_transaction
        written += steps * pace.pieces
        [count] = journal._db.execute("SELECT count(*) FROM pieces").fetchone()
        assert count == written
    assert journal.snapshot() is None


def test_a_snapshot_due_during_another_waits_for_its_end(journal: Journal) -> None:
    """And the next ones are due when they would have been."""
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(128, pieces=1_000))
    for _ in range(128):
        snapshots.applied(*life.commit(1), life.replica)
    for _ in range(129):
        snapshots.applied(*life.commit(1), life.replica)
    snapshots.write()
    assert [journal.snapshot(), life.replica.commit] == [(128, *stored_of(journal, 128), 0), 257]
    live(life, snapshots, 63)
    assert stored(journal) == [128, 320]
    live(life, snapshots, 64)
    assert stored(journal) == [128, 320, 384]


def stored(journal: Journal) -> list[int]:
    return [n for (n,) in journal._db.execute("SELECT number FROM snapshots ORDER BY number")]


def stored_of(journal: Journal, number: int) -> tuple[bytes, bool]:
    query = "SELECT digest, certificate IS NOT NULL FROM snapshots WHERE number = ?"
    digest, is_certified = journal._db.execute(query, (number,)).fetchone()
    return digest, bool(is_certified)


def test_many_commands_bring_a_snapshot_before_many_commits(journal: Journal) -> None:
    """Replaying commands is what takes time at a restart."""
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(1_024, commands=300, pieces=1_000))
    live(life, snapshots, 64)
    assert stored(journal) == [64]
    live(life, snapshots, 64, orders=1)
    assert stored(journal) == [64]
    live(life, snapshots, 64)
    assert stored(journal) == [64, 192]


def test_more_open_orders_allow_more_commands_between_snapshots(journal: Journal) -> None:
    """Or most of a large state would be written again and again."""
    pace = Pace(1_024, commands=100, commands_max=10_000, pieces=1_000)
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, pace)
    live(life, snapshots, 130, orders=20)
    assert stored(journal) == [64, 128]
    assert (open_count := life.replica.exchange.open_count) > 4 * 100
    assert open_count == sum(1 for _ in life.replica.exchange.orders_open())
    live(life, snapshots, 64, orders=1)
    assert stored(journal) == [64, 128]
    live(life, snapshots, 80, orders=20)
    assert stored(journal) == [64, 128, 256]


def test_a_quorum_certifies_a_snapshot_once_it_is_complete(journal: Journal) -> None:
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(64, pieces=10))
    for _ in range(64):
        snapshots.applied(*life.commit(), life.replica)
    said = life.replica.attestation()
    snapshots.note(says(0, said))
    snapshots.note(says(0, said))
    snapshots.note(says(1, said._replace(digest=b"x" * 32)))
    while stored(journal) == []:
        snapshots.write()
    assert journal.certified() is None
    snapshots.note(says(2, said))
    certified = journal.certified()
    assert certified is not None
    assert certified.manifest[:2] == said
    assert certified[2] == [b"0", b"2"]

    for _ in range(64):
        snapshots.applied(*life.commit(), life.replica)
    later = life.replica.attestation()
    for author in range(3):
        snapshots.note(says(author, later))
    assert journal.certified() == certified, "half of a snapshot is none"
    while stored(journal) == [64]:
        snapshots.write()
    assert stored(journal) == [128]
    assert stored_of(journal, 128) == (later.digest, True)
    assert snapshots.tree_at(64) is None
    assert snapshots.tree_at(128) is not None


def test_blocks_stay_until_the_snapshot_after_the_next(journal: Journal) -> None:
    """A peer that takes over a snapshot needs a while: then it goes on with the blocks since."""
    life, snapshots = Life(), Snapshots(journal, COMMITTEE, Pace(64, pieces=1_000))
    needed = [[0] * COMMITTEE.size]
    for _ in range(3):
        live(life, snapshots, 64)
        for author in range(COMMITTEE.size):
            snapshots.note(says(author, life.replica.attestation()))
        certified, checkpoint = journal.certified(), life.replica.checkpoint
        assert certified is not None
        assert checkpoint is not None
        assert certified[1] == needed[-1]
        needed.append(checkpoint.gc_rounds(COMMITTEE.mode))
    assert needed[2] < needed[3]


# Restart


def test_after_any_crash_a_peer_continues_from_the_last_complete_snapshot(tmp_path: Path) -> None:
    rng, folder = random.Random(2), tmp_path / "me"
    seen = set()
    for life in range(12):
        with Alone(folder, pace=SLOW) as peer:
            replica, newest = peer.node.ledger.replica, peer.journal.snapshot()
            replica.exchange.check()
            replica.signers.check()
            seen.add(newest and newest.number)
            pieces = peer.journal._db.execute("SELECT max(number) FROM pieces").fetchone()[0]
            assert pieces is None or (newest and pieces <= newest.number) or life == 0
            for _ in range(rng.randrange(20, 60)):
                peer.execute(*random_orders(rng, f"trader{life}", 2), order("b", Side.BUY, 1, 1))
            peer.journal.sync()
            found = Inspection(folder / "journal.db", peer.config).verify()
            assert found.problems == []
    assert len(seen) >= 5


def test_certificates_are_found_in_stored_blocks_too(tmp_path: Path) -> None:
    """The blocks that say a snapshot's digest may have come before it was whole, and a restart in
    between must not forget them."""
    with Alone(tmp_path / "me", pace=SLOW) as peer:
        snapshots = peer.node.ledger.snapshots
        snapshots.note = lambda _block: None  # type: ignore[method-assign]
        while peer.journal.snapshot() is None:
            peer.execute(order("a", Side.BUY, 1, 1))
        assert peer.journal.certified() is None
    with Alone(tmp_path / "me", pace=SLOW) as peer:
        certified = peer.journal.certified()
        assert certified is not None
        assert peer.node.ledger.tree_at(certified[0].commit) is not None


def test_the_default_pace_leaves_time_for_the_loop() -> None:
    assert PACE.commits % CHECKPOINT_EVERY == 0
    assert PACE.size <= 1024 * 1024
    assert PACE.commands <= PACE.commands_max
