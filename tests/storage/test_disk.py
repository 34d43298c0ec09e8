"""Disks that fail: a peer stops, says why, keeps what it has, and publishes only what it stored."""

import errno
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Side
from peer.client.connection import NodeRefusedError
from peer.client.protocol import Done, Queued, Refused
from peer.membership import mesh_file
from peer.storage.block_log import Slots
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import JournalError
from tests.support.alone import Alone, alone
from tests.support.real_mesh import MARKET, RealPeer, order, wait_for


class Failing(Slots):
    """The files of a log on a disk that fails when it is told to."""

    broken: OSError | None = None

    def sync(self, slot: int) -> None:
        if self.broken:
            raise self.broken
        super().sync(slot)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_data_that_could_not_be_stored_is_never_published(tmp_path: Path, number: int) -> None:
    """ORDER-29."""
    first, second = order("a", Side.BUY, 100, 1), order("a", Side.BUY, 101, 1)
    error, slots = os.strerror(number), Failing(tmp_path / "me" / JOURNAL_FILE)
    with Alone(tmp_path / "me", slots=slots) as peer:
        assert [type(reply) for reply in peer.execute(first)] == [Queued, Done]
        published, heard = list(peer.mesh.published), peer.mesh.beats
        slots.broken = OSError(number, error)
        [lost] = peer.execute(second, answers=1)
        assert isinstance(lost, Refused)
        assert lost.code == "result_lost"
        assert error in lost.reason
        slots.broken = None  # it seems to work again: that is no reason to trust it
        [refused] = peer.execute(second, answers=1)
        assert isinstance(refused, Refused)
        assert refused.code == "halted"
        assert error in refused.reason
        assert peer.mesh.published == published
        assert peer.mesh.beats == heard, "a heartbeat would name a block that is not stored"
        assert error in peer.node.halted
        assert len(peer.node.mesh_status.alarms.texts) == 1
        stored = peer.journal.above([0], 1000, 10**6)
        assert stored == [block.frame for block in published], "nor is it handed out"
    with Alone(tmp_path / "me") as peer:
        peer.execute(order("a", Side.BUY, 102, 1))
        levels = [price for price, *_ in peer.node.publisher.state(MARKET, 10).bids]  # type: ignore[union-attr]
        assert levels[0] == 102
        assert levels[-1] == 100


class FailingDatabase(sqlite3.Connection):
    """A database on a disk that fails when it is told to."""

    broken = ""

    def commit(self) -> None:
        if self.broken:
            raise sqlite3.OperationalError(self.broken)
        super().commit()


def connect(path: Path) -> FailingDatabase:
    return sqlite3.connect(path, isolation_level=None, factory=FailingDatabase)


def test_a_failed_journal_still_reads_and_never_writes(tmp_path: Path) -> None:
    with Alone(tmp_path / "me", connect) as peer:
        peer.journal.add_pending([(1, b"x")])
        db = peer.journal._db
        assert isinstance(db, FailingDatabase)
        db.broken = "disk I/O error"
        with pytest.raises(JournalError, match="disk I/O error"):
            peer.journal.sync()
        assert peer.journal.pending() == []
        for again in (peer.journal.sync, lambda: peer.journal.add_pending([(2, b"y")])):
            with pytest.raises(JournalError, match="has failed: disk I/O error"):
                again()


def filled(folder: Path) -> Path:
    """The closed journal of a peer that took some orders."""
    with Alone(folder) as peer:
        for n in range(30):
            peer.execute(order("flipme", Side.BUY, 100 + n, 1))
    return folder / JOURNAL_FILE


def start(folder: Path) -> tuple[int, str]:
    """Exit status and output of a peer that can't start."""
    mesh = folder / "mesh.toml"
    mesh_file.write(alone(folder), mesh)
    command = [sys.executable, "-m", "peer", "run", "--data", str(folder), "--mesh", str(mesh)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


def log_of(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}-log0")


def flip_in_blocks(journal: Path) -> None:
    data = log_of(journal).read_bytes()
    assert b"flipme" in data
    log_of(journal).write_bytes(data.replace(b"flipme", b"flipMe", 1))


def remove_log(journal: Path) -> None:
    log_of(journal).unlink()


def wipe_a_page(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    db = sqlite3.connect(journal)
    [[page]] = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pending'")
    db.close()
    start_byte = (page - 1) * 4096
    data[start_byte : start_byte + 4096] = os.urandom(4096)
    journal.write_bytes(data)


def cut_short(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:9000])


def fill_with_noise(journal: Path) -> None:
    journal.write_bytes(os.urandom(20_000))


def spoil_a_pending_command(journal: Path) -> None:
    db = sqlite3.connect(journal)
    db.execute("INSERT INTO pending VALUES (31, x'c1')")
    db.commit()
    db.close()


def spoil_the_snapshot(journal: Path) -> None:
    db = sqlite3.connect(journal)
    db.execute("INSERT INTO snapshots VALUES (64, zeroblob(32), NULL, x'90', 0)")
    db.commit()
    db.close()


def put_in_another_snapshot(journal: Path) -> None:
    """A sound one, but of another state than the journal says."""
    with Alone(journal.parent) as peer:
        for n in range(40):  # one is due at commit 64
            peer.execute(order("late", Side.BUY, 100 + n, 1))
    db = sqlite3.connect(journal)
    db.execute("UPDATE snapshots SET digest = zeroblob(32)")
    assert db.execute("SELECT changes()").fetchone()[0]
    db.commit()
    db.close()


def remove(journal: Path) -> None:
    journal.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_in_blocks, "the journal is damaged: batch"),
        (remove_log, "the journal is damaged: its log is missing"),
        (wipe_a_page, "has failed: database disk image is malformed"),
        (cut_short, "journal.db: database disk image is malformed"),
        (fill_with_noise, "file is not a database"),
        (spoil_a_pending_command, "the journal is damaged: pending 31"),
        (spoil_the_snapshot, "the journal is damaged: invalid snapshot"),
        (put_in_another_snapshot, "the journal is damaged: its snapshot has another digest"),
        (remove, "must rejoin under a new key"),
    ],
)
def test_a_damaged_journal_is_a_clear_error_at_the_start(
    tmp_path: Path, damage: object, said: str
) -> None:
    journal = filled(tmp_path / "me")
    assert callable(damage)
    damage(journal)
    status, output = start(tmp_path / "me")
    assert status == 1
    assert said in output
    assert "Traceback" not in output
    how = f"`python -m peer put-aside {tmp_path / 'me'}`, then `python -m peer join"
    assert how in output


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for little."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k,mode=700", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_a_peer_and_free_space_lets_it_continue(
    tmp_path: Path, small_disk: Path
) -> None:
    mesh = tmp_path / "mesh.toml"
    mesh_file.write(alone(small_disk / "me"), mesh)
    log = tmp_path / "log"
    peer = RealPeer(small_disk / "me", mesh, [], log=log)
    peer.start()
    taken: list[int] = []
    orders = ([order("a", Side.BUY, price, 1)] for price in range(1, 20_000))
    with pytest.raises(NodeRefusedError) as refused:
        taken.extend(id_ for one in orders for id_ in peer.client.submit(one))
    assert refused.value.code in ("result_lost", "halted"), "lost if the disk was full beside it"
    assert re.search("disk is full|No space left", str(refused.value))
    with pytest.raises(NodeRefusedError) as refused:
        peer.client.submit([order("a", Side.BUY, 1, 1)])
    assert refused.value.code == "halted"
    assert "Traceback" not in peer.log()
    assert peer.log().count("ALARM") == 1
    assert len(peer.client.orders("a").open) >= len(taken) - 1, "what it knows, it still tells"
    peer.stop()
    assert "Traceback" not in peer.log()

    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    peer.start()
    try:
        wait_for("quorum", lambda: "quorum reached" in peer.log())
        peer.client.execute([order("b", Side.BUY, 1, 1)])
        there = [one.id for one in peer.client.orders("a").open]
        assert there[: len(taken)] == taken
        assert len(there) <= len(taken) + 1, "the last one may have been stored or not"
    finally:
        peer.close()
