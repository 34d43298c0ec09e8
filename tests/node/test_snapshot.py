"""States of others: which are refused, and what is kept of one that is taken over."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import HEAD_KEY, HashTree, Row, Side, key_of, rows_of
from peer.consensus.block import Attestation, genesis, make
from peer.consensus.committee import Mode
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.ledger import KeyElsewhereError, Ledger
from peer.node.snapshots import Pace
from peer.replica.snapshot import HEAD, TRADES, InvalidSnapshotError, leaf_of
from peer.replica.state_machine import Replica
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import Journal, JournalError
from peer.storage.state_sync import Fetched, Manifest
from tests.consensus.test_checkpoint import lived
from tests.support.pieces import Life, pieces_of
from tests.support.real_mesh import MARKETS
from tests.support.rows import FIELDS, packed, unpacked

IDENTITIES = [Identity.ephemeral() for _ in range(4)]
MEMBERS = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(IDENTITIES)]
CONFIG = MeshConfig("four", Mode.CRASH, 1_700_000_000_000, MEMBERS, MARKETS, "any")


def certificate(attestation: Attestation, signers: Iterable[int]) -> list[bytes]:
    """Blocks of these members that say this digest."""
    start = genesis(CONFIG.committee)
    frames = []
    for n in signers:
        parents = (start[n].ref, *(block.ref for block in start if block.author != n))
        block = make(CONFIG.committee, 1, n, parents, b"", 1, attestation, IDENTITIES[n].sign)
        frames.append(block.frame)
    return frames


@pytest.fixture(scope="module")
def fetched() -> Fetched:
    """A true state, certified by a quorum of 3."""
    replica = Replica(MARKETS, Epoch.first(CONFIG))
    for commit in lived(CONFIG.committee, 1)[1]:
        replica.apply(commit)
        if commit.checkpoint is not None:
            return certified(replica)
    raise AssertionError("no checkpoint was reached")


def certified(replica: Replica, own: Replica | None = None) -> Fetched:
    """The state as a peer gets it that has its `own`, or nothing."""
    said = replica.attestation()
    changes = replica.tree.changes(own.tree if own else HashTree())
    pieces = {key: replica.piece(key) if digest else b"" for key, digest in changes}
    return Fetched(1, Manifest(*said), pieces, certificate(said, (0, 1, 2)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Of a peer that follows, and has nothing yet."""
    identity = data_folder.create(tmp_path / "follower")
    journal = Journal(tmp_path / "follower" / JOURNAL_FILE, identity.public, CONFIG.id)
    yield Ledger(CONFIG, None, identity.sign, journal)
    journal.close()


def damaged(fetched: Fetched) -> Fetched:
    """The state with a time one millisecond later in its checkpoint."""
    head, *others = msgspec.msgpack.decode(fetched.pieces[HEAD])
    head[2] += 1
    pieces = fetched.pieces | {HEAD: msgspec.msgpack.encode([head, *others])}
    return fetched._replace(pieces=pieces)


def test_a_certified_snapshot_is_taken_over(ledger: Ledger, fetched: Fetched) -> None:
    assert ledger.epochs.certifies(fetched.manifest, fetched.certificate)
    ledger.install(fetched, 0)
    assert ledger.replica.attestation() == fetched.manifest[:2]
    stored = ledger.journal.certified()
    assert stored is not None
    assert (stored[0], stored[2]) == (fetched.manifest, fetched.certificate)
    assert ledger.journal.pieces(fetched.manifest.commit) == fetched.pieces
    tree = ledger.tree_at(fetched.manifest.commit)
    assert tree is not None
    assert tree.digest == fetched.manifest.digest


def test_another_snapshot_than_was_certified_is_refused(ledger: Ledger, fetched: Fetched) -> None:
    """ORDER-31."""
    other = fetched.manifest._replace(commit=fetched.manifest.commit + 64)
    less = dict(list(fetched.pieces.items())[1:])
    more = fetched.pieces | {7: b"piece"}
    for wrong in (
        damaged(fetched),
        fetched._replace(manifest=other),
        fetched._replace(pieces=less),
        fetched._replace(pieces=more),
    ):
        with pytest.raises(InvalidSnapshotError, match="the state that a quorum has signed"):
            ledger.install(wrong, 0)
    assert ledger.replica.commit == 0
    assert ledger.journal.snapshot() is None


def test_only_different_pieces_are_needed_and_stored(tmp_path: Path) -> None:
    """The own state is ahead of the own snapshot, and half of another one is written. Of orders
    that are as they were, nothing is missed."""
    life, folder = Life(1, CONFIG.committee), tmp_path / "follower"
    identity = data_folder.create(folder)
    journal = Journal(folder / JOURNAL_FILE, identity.public, CONFIG.id)
    ledger = Ledger(CONFIG, None, identity.sign, journal, pace=Pace(commits=64, pieces=3))
    for _ in range(150):
        ledger.apply(life.commit()[0])
        ledger.tidy()
    own, newest = ledger.replica, journal.snapshot()
    assert newest is not None
    assert newest.number == 64
    for _ in range(42):
        life.commit(1)
    fetched = certified(life.replica, own)
    whole = pieces_of(life.replica)
    assert len(whole) > 2 * len(fetched.pieces) > 0
    with pytest.raises(InvalidSnapshotError):
        ledger.install(fetched._replace(pieces=dict(list(fetched.pieces.items())[1:])), 0)
    assert journal.snapshot() == newest
    assert ledger.replica is own

    before = rows_in(own)
    ledger.install(fetched, 0)
    assert ledger.commit == 192
    assert journal.pieces(192) == pieces_of(ledger.replica) == whole
    opened = journal._db.execute("SELECT key, piece FROM opened").fetchall()
    kept = {id_ for key, piece in opened for id_ in rows_of(key, piece)}
    after = rows_in(life.replica)
    assert kept == {id_ for id_, row in after.items() if before.get(id_) != row}
    assert 0 < len(kept) < len([id_ for id_ in after if key_of(id_) in fetched.pieces])

    for _ in range(64):
        commit, _ = life.commit()
        ledger.apply(commit)
        ledger.tidy()
    assert ledger.replica.attestation() == life.replica.attestation()
    while journal.snapshot() != (256, life.replica.tree.digest, False, 0):
        ledger.tidy()
    assert journal.pieces(256) == pieces_of(life.replica)
    journal.close()


def signed(own: Replica, changes: dict[int, bytes]) -> Fetched:
    """What a quorum of liars has signed: the own state with these pieces."""
    tree = own.tree.updated(leaf_of(*change) for change in changes.items())
    head = msgspec.msgpack.decode(changes[HEAD])
    said = Attestation(head[0][0], tree.digest)
    return Fetched(1, Manifest(*said), changes, certificate(said, (0, 1, 2)))


@pytest.mark.parametrize("what", ["a crossed book", "no trades"])
def test_a_refused_state_leaves_the_own_one_as_it_was(tmp_path: Path, what: str) -> None:
    """ORDER-31. It shows only once orders have been replaced."""
    life, identity = Life(1, CONFIG.committee), data_folder.create(tmp_path / "one")
    journal = Journal(tmp_path / "one" / JOURNAL_FILE, identity.public, CONFIG.id)
    ledger = Ledger(CONFIG, None, identity.sign, journal)
    for _ in range(70):
        ledger.apply(life.commit()[0])
    own, pieces = ledger.replica, pieces_of(ledger.replica)
    head = msgspec.msgpack.decode(pieces[HEAD])
    head[0][0] = 128
    changes = {HEAD: msgspec.msgpack.encode(head)}
    key, rows = next((key, unpacked(key, piece)) for key, piece in pieces.items() if key < HEAD_KEY)
    if what == "a crossed book":
        for (_, row), side in zip(rows, Side, strict=False):
            row[FIELDS.index("price")], row[FIELDS.index("side")] = 10_000, side
        changes[key] = packed(rows)
    else:
        changes |= {key: b"", TRADES: b""}
    with pytest.raises(InvalidSnapshotError, match="invalid snapshot"):
        ledger.install(signed(own, changes), 0)
    assert ledger.replica is own
    own.exchange.check()
    assert pieces_of(own) == pieces
    assert own.rules.exchange is own.exchange
    for _ in range(58):
        ledger.apply(life.commit()[0])
    assert own.attestation() == life.replica.attestation()
    journal.close()


def test_a_disk_that_fails_meanwhile_leaves_one_whole_state(
    ledger: Ledger, fetched: Fetched
) -> None:
    """The peer goes on to show it: the commit and the book must be of one state."""
    ledger.journal._db.close()
    with pytest.raises(JournalError):
        ledger.install(fetched, 0)
    assert ledger.replica.attestation() == fetched.manifest[:2]
    assert pieces_of(ledger.replica) == fetched.pieces
    ledger.replica.exchange.check()


def test_a_peer_whose_key_is_elsewhere_keeps_its_state(tmp_path: Path, fetched: Fetched) -> None:
    """ORDER-25. It stops, and shows what it had."""
    key = IDENTITIES[0].public
    Journal.create(tmp_path / JOURNAL_FILE, key)
    journal = Journal(tmp_path / JOURNAL_FILE, key, CONFIG.id)
    ledger = Ledger(CONFIG, 0, IDENTITIES[0].sign, journal)
    own, digest = ledger.replica, ledger.replica.exchange.digest()
    with pytest.raises(KeyElsewhereError, match="has signed a block of round"):
        ledger.install(fetched, 0)
    assert (ledger.replica, own.exchange.digest()) == (own, digest)
    assert journal.snapshot() is None
    journal.close()


def rows_in(replica: Replica) -> dict[int, Row]:
    """All open orders."""
    keys = [key for key, _ in replica.tree if key < HEAD_KEY]
    return {id_: row for key in keys for id_, row in rows_of(key, replica.piece(key)).items()}


def test_only_a_quorum_certifies(ledger: Ledger, fetched: Fetched) -> None:
    """ORDER-31."""
    manifest, frames = fetched.manifest, fetched.certificate
    other = certificate(Attestation(manifest.commit, b"x" * 32), (2,))
    unsigned = frames[2][:-1] + bytes([frames[2][-1] ^ 1])
    for wrong in ([], frames[:2], [*frames[:2], frames[1]], [*frames[:2], *other]):
        assert not ledger.epochs.certifies(manifest, wrong)
    for wrong in ([*frames[:2], unsigned], [*frames, b"noise"]):
        assert not ledger.epochs.certifies(manifest, wrong)
    assert not ledger.epochs.certifies(manifest._replace(digest=b"x" * 32), frames)
