"""A real peer whose system calls to its disk fail, below SQLite: see `disk/shim.c`."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine import Side
from peer.client.connection import NodeRefusedError
from peer.membership import mesh_file
from tests.disk.shim import NoShimError, Shim, break_disk
from tests.support.alone import alone
from tests.support.real_mesh import RealPeer, order, wait_for

SKIPPED = 40  # operations that still succeed, so that the failure hits in mid-work
ORDERS = 2_000


class Broken:
    """The only member of a mesh, and a switch for its disk."""

    def __init__(self, folder: Path) -> None:
        self.fault = folder / "fault"
        mesh, data = folder / "mesh.toml", folder / "me"
        mesh_file.write(alone(data), mesh)
        env = Shim(folder).environment(data, fault=self.fault)
        self.peer = RealPeer(data, mesh, [], log=folder / "log", env=env)
        self.taken: list[int] = []

    def start(self) -> None:
        self.peer.start()
        wait_for("quorum", lambda: "quorum reached" in self.peer.log())

    def take(self, orders: int, named: bool = False) -> None:
        """Hand in orders one by one; NodeRefusedError once one is. Names are in the database, and
        are durable before an order is acknowledged."""
        for _ in range(orders):
            name = f"order {len(self.taken)}" if named else ""
            one = msgspec.structs.replace(order("a", Side.BUY, 1, 1), client_id=name)
            self.taken += self.peer.client.submit([one])

    def mend(self) -> None:
        self.fault.unlink()
        self.peer.kill()
        self.start()

    def there(self) -> list[int]:
        wait_for("the last", lambda: not self.peer.client.orders("a").pending)
        return [one.id for one in self.peer.client.orders("a").open]


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Broken]:
    try:
        broken = Broken(tmp_path)
    except NoShimError as why:
        pytest.skip(str(why))
    broken.start()
    broken.take(5)
    yield broken
    broken.peer.close()


@pytest.mark.parametrize(
    ("ops", "error", "said"),
    [
        ("s", errno.EIO, "I/O error|Input/output error"),
        ("w", errno.EIO, "I/O error|Input/output error"),
        ("w", errno.ENOSPC, "database or disk is full|No space left"),
        ("ws", errno.EROFS, "I/O error|Read-only file system"),
    ],
)
def test_a_failed_write_or_sync_stops_the_peer_and_loses_nothing_acknowledged(
    broken: Broken, ops: str, error: int, said: str
) -> None:
    break_disk(broken.fault, ops, error, skip=SKIPPED)
    with pytest.raises(NodeRefusedError) as refused:
        broken.take(ORDERS)
    # The second if the write that failed was one of a turn between two orders.
    assert refused.value.code in ("result_lost", "halted")
    assert re.search(said, str(refused.value))
    broken.fault.unlink()  # it seems to work again: that is no reason to trust it
    with pytest.raises(NodeRefusedError) as refused:
        broken.take(1)
    assert refused.value.code == "halted"
    broken.fault.touch()
    broken.mend()
    there = broken.there()
    assert there[: len(broken.taken)] == broken.taken
    assert len(there) <= len(broken.taken) + 1, "the last one may have been stored or not"
    broken.take(1)


def test_short_writes_change_nothing(broken: Broken) -> None:
    break_disk(broken.fault, "h")
    broken.take(100)
    broken.mend()
    assert broken.there() == broken.taken


@pytest.mark.parametrize("ops", ["w", "s", "t"])
def test_a_failed_wal_checkpoint_loses_nothing(broken: Broken, ops: str) -> None:
    """What it would have moved stays in the log beside the file, and is read from there."""
    break_disk(broken.fault, ops, end="journal.db")
    while (broken.peer.folder / "journal.db-wal").stat().st_size < 6 * 2**20:
        broken.take(100, named=True)
    broken.mend()
    assert broken.there() == broken.taken


def test_a_peer_that_cannot_read_its_journal_does_not_start(broken: Broken) -> None:
    broken.take(20)
    broken.peer.kill()
    break_disk(broken.fault, "r", end="journal.db", skip=3)
    broken.peer.start()
    assert broken.peer.process is not None
    assert broken.peer.process.wait(20) == 1
    assert "database disk image is malformed" in broken.peer.log()  # so SQLite names EIO
    assert "Traceback" not in broken.peer.log()
    broken.fault.unlink()
    broken.start()
    assert broken.there() == broken.taken


def test_a_journal_that_cannot_be_opened_is_a_clear_error(broken: Broken) -> None:
    broken.peer.kill()
    break_disk(broken.fault, "o", errno.EACCES, end="journal.db")
    broken.peer.start()
    assert broken.peer.process is not None
    assert broken.peer.process.wait(20) == 1
    assert "unable to open database file" in broken.peer.log()
    assert "Traceback" not in broken.peer.log()
