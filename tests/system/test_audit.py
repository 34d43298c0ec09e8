"""`python -m peer journal`: its report on a sound journal, and on damaged ones."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from engine import Cancel, Side
from peer.cli.audit import Inspection
from peer.cli.main import main
from peer.membership import mesh_file
from peer.membership.epochs import Epoch
from peer.node.snapshots import PACE
from peer.replica.state_machine import Replica
from peer.storage.block_log import BlockLog, Slots
from peer.storage.block_store import _RECORD, BlockStore, Entry
from peer.storage.data_folder import JOURNAL_FILE
from tests.support.alone import OFTEN, Alone
from tests.support.real_mesh import order

Blocks = list[tuple[Entry, bytes]]  # in a journal's log, with their frames


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A peer's folder after 150 orders, with a snapshot and pruned blocks."""
    folder = tmp_path_factory.mktemp("sound") / "me"
    with Alone(folder) as peer:
        mesh_file.write(peer.config, folder.parent / "mesh.toml")
        for n in range(150):
            peer.execute(order(f"trader{n % 2}", Side(n % 2), 100, 1))
        assert peer.node.ledger.replica.commit > 128
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return copy(sound, tmp_path / "me")


def journal(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["journal", str(folder), *arguments])


def last_commit(folder: Path) -> int:
    return int(journal(folder, "commits", "--last", "1").output.split()[0])


def test_verify_finds_no_problem_in_a_sound_journal(sound: Path) -> None:
    before = (sound / JOURNAL_FILE).read_bytes()
    result = journal(sound, "verify")
    assert result.exit_code == 0
    assert f"up to commit {last_commit(sound)}," in result.output
    assert "all is well" in result.output
    assert int(result.output.split(" digests")[0].rpartition(" ")[2]) > 0
    assert (sound / JOURNAL_FILE).read_bytes() == before


def test_blocks_and_commits_are_listed_newest_last(sound: Path) -> None:
    blocks = journal(sound, "blocks", "--last", "3").output.splitlines()
    assert len(blocks) == 3
    assert all(" me " in line for line in blocks)
    commits = journal(sound, "commits", "--last", "2").output.splitlines()
    number = last_commit(sound)
    assert [int(line.split()[0]) for line in commits] == [number - 1, number]


def test_export_is_json_lines(sound: Path) -> None:
    lines = [json.loads(line) for line in journal(sound, "export").output.splitlines()]
    kinds = Counter(line["record"] for line in lines)
    assert kinds["snapshot"] == 1
    assert kinds["trade"] == 75
    [since] = [line["commit"] for line in lines if line["record"] == "snapshot"]
    assert kinds["commit"] == last_commit(sound) - since
    assert kinds["block"] >= kinds["commit"]
    [trade] = [line for line in lines if line["record"] == "trade" and line["number"] == 1]
    assert (trade["market"], trade["price"], trade["maker"], trade["taker"]) == (
        "BTC-USD",
        100,
        256,
        512,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE snapshots SET digest = zeroblob(32)", "another digest"),
        ("UPDATE pieces SET piece = x'00'", "invalid snapshot"),
        ("UPDATE snapshots SET certificate = x'90'", "is no quorum's"),
    ],
)
def test_what_is_wrong_is_seen(folder: Path, change: str, said: str) -> None:
    db = sqlite3.connect(folder / JOURNAL_FILE)
    assert db.execute(change).rowcount > 0
    db.commit()
    db.close()
    result = journal(folder, "verify")
    assert result.exit_code == 1
    assert said in result.output


def other_digest(blocks: Blocks) -> None:
    entry, frame = blocks[-1]
    blocks[-1] = entry._replace(digest=bytes(32)), frame


def no_block(blocks: Blocks) -> None:
    blocks[-1] = blocks[-1][0], bytes(99)


def unsigned(blocks: Blocks) -> None:
    entry, frame = blocks[-1]
    blocks[-1] = entry, frame[:-1] + bytes([frame[-1] ^ 1])


def without_the_last_but_two(blocks: Blocks) -> None:
    del blocks[-3]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_digest, "is stored as"),
        (no_block, "not a block"),
        (unsigned, "is not signed by its author"),
        (without_the_last_but_two, "not follow"),
    ],
)
def test_what_is_wrong_with_the_blocks_is_seen(
    folder: Path, change: Callable[[Blocks], None], said: str
) -> None:
    write_log(folder, change)
    result = journal(folder, "verify")
    assert result.exit_code == 1
    assert said in result.output


def write_log(folder: Path, change: Callable[[Blocks], None]) -> None:
    """Write a journal's log anew, with other blocks."""
    with closing(sqlite3.connect(folder / JOURNAL_FILE)) as db:
        [(key,)] = db.execute("SELECT value FROM meta WHERE name = 'log'")
    slots = Slots(folder / JOURNAL_FILE)
    blocks = list(BlockStore(BlockLog(slots, key)).of_epoch(0))
    change(blocks)
    slots.write(0, 0, bytes(slots.size(0)))
    log = BlockLog(slots, key)
    for (number, *about, _), frame in blocks:
        log.write(_RECORD.pack(number, *about, len(frame)) + frame)
    slots.close()


def test_a_file_that_is_no_journal_is_a_clear_error(folder: Path) -> None:
    (folder / JOURNAL_FILE).write_bytes(b"nothing" * 1_000)
    result = journal(folder, "verify")
    assert "can't be read: file is not a database" in str(result.exception)


# Two states


def inspected(folder: Path) -> Inspection:
    return Inspection(folder / JOURNAL_FILE, mesh_file.load(folder.parent / "mesh.toml"))


def cancelled(folder: Path, number: int) -> str:
    """Store the state after a commit with its first order cancelled. What is said of that order."""
    inspection = inspected(folder)
    config, pieces = inspection.config, inspection.pieces(number)
    replica = Replica.restore(Epoch.first(config), pieces)
    gone = min(replica.exchange.orders_open(), key=lambda order: order.id)
    replica.exchange.apply(Cancel(0, gone.account, gone.id))
    changed = {key: replica.piece(key) for key, _ in replica.tree}
    with closing(sqlite3.connect(folder / JOURNAL_FILE)) as db:
        db.execute("DELETE FROM snapshots WHERE number = ?", (number,))
        db.execute("DELETE FROM pieces WHERE number = ?", (number,))
        db.executemany(
            "INSERT INTO pieces VALUES (?, ?, ?)",
            [(k, number, changed.get(k, b"")) for k in pieces.keys() | changed.keys()],
        )
        row = (number, replica.tree.digest, None, msgspec.msgpack.encode([0]), 0)
        db.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)", row)
        db.commit()
    return f"order {gone.id} exists only "


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A peer's folder with a snapshot, a checkpoint after it, and orders in the book."""
    folder = tmp_path_factory.mktemp("resting") / "me"
    for pace, orders in ((OFTEN, 70), (PACE, 70)):
        with Alone(folder, pace=pace) as peer:
            mesh_file.write(peer.config, folder.parent / "mesh.toml")
            for _ in range(orders):
                peer.execute(order("ann", Side.BUY, 1, 1))
            assert peer.node.ledger.replica.commit > orders
    return folder


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.glob(f"{JOURNAL_FILE}*"):
        (to / file.name).write_bytes(file.read_bytes())
    (to.parent / "mesh.toml").write_bytes((folder.parent / "mesh.toml").read_bytes())
    return to


def test_journals_with_the_same_states_are_found_to_have_them(
    resting: Path, tmp_path: Path
) -> None:
    other = copy(resting, tmp_path / "me")
    result = journal(other, "compare", str(resting))
    assert result.exit_code == 0
    last = max(inspected(resting).digests())
    assert result.output == f"after commit {last} the states are the same\n"


def test_of_two_journals_the_first_difference_is_named(resting: Path, tmp_path: Path) -> None:
    """ORDER-41."""
    other = copy(resting, tmp_path / "me")
    first, second, *_ = sorted(inspected(resting).digests())
    for number in (second, first):
        named = cancelled(other, number)
        result = journal(other, "compare", str(resting))
        assert result.exit_code == 1
        assert result.output == f"{named}there\nafter commit {number} the states differ\n"
        result = journal(resting, "compare", str(other))
        assert result.output == f"{named}here\nafter commit {number} the states differ\n"


def test_a_snapshot_that_its_blocks_do_not_make_is_named_by_its_orders(
    resting: Path, tmp_path: Path
) -> None:
    """ORDER-41."""
    other = copy(resting, tmp_path / "me")
    _, later, *_ = sorted(inspected(resting).digests())
    named = cancelled(other, later)
    result = journal(other, "verify")
    assert result.exit_code == 1
    where = f"the snapshot after commit {later}, against its blocks"
    assert f"{where}: {named}there\n" in result.output


def test_journals_without_a_commit_in_common_cannot_be_compared(
    resting: Path, tmp_path: Path
) -> None:
    other = copy(resting, tmp_path / "me")
    with closing(sqlite3.connect(other / JOURNAL_FILE)) as db:
        for table in ("snapshots", "pieces"):
            db.execute(f"DELETE FROM {table}")
        db.commit()
    write_log(other, list.clear)
    result = journal(other, "compare", str(resting))
    assert result.exit_code == 1
    assert "no state after the same commit" in result.output
