"""Power failures, in short: `make powercut` has the long version. And what the disk may forget."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.image import SECTOR_BYTES, Disk, Op
from tests.disk.powercut import FAST, Campaign
from tests.disk.shim import NoShimError, Shim

FILE, OTHER = "/r/ann/journal.db", "/r/ann/other"
OLD, NEW = b"o" * 3 * SECTOR_BYTES, b"n" * 3 * SECTOR_BYTES


@pytest.fixture
def fast() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="powercut-", dir=FAST))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    try:
        return Shim(tmp_path)
    except NoShimError as why:
        pytest.skip(str(why))


def test_after_a_power_failure_nothing_acknowledged_is_lost_and_no_peer_equivocates(
    fast: Path, shim: Shim
) -> None:
    campaign = Campaign(fast, shim, seed=1, cuts=12)
    assert campaign.run() == []
    assert campaign.cuts == 36
    assert campaign.operations > 3_000


def op(kind: str, path: str = FILE, offset: int = 0, data: bytes = b"") -> Op:
    return Op(kind, path, offset, data)


STORED = [op("O"), op("W", data=OLD), op("S"), op("S", "/r/ann")]


def left(folder: Path, *ops: Op, dark: tuple[str, ...] = ("ann",)) -> set[bytes | None]:
    """Everything that FILE can be after these steps; None if it can be gone."""
    disk = Disk()
    for one in ops:
        disk.do(one)
    found: set[bytes | None] = set()
    for seed in range(300):
        place = folder / str(seed)
        disk.write_to("/r", place, dark, random.Random(seed))
        file = place / "ann" / "journal.db"
        found.add(file.read_bytes() if file.exists() else None)
    return found


def test_synced_writes_survive(tmp_path: Path) -> None:
    assert left(tmp_path, *STORED) == {OLD}


def test_any_sectors_of_unsynced_writes_may_survive(tmp_path: Path) -> None:
    found = left(tmp_path, *STORED, op("W", data=NEW))
    cuts = range(0, len(OLD), SECTOR_BYTES)
    assert len(found) == 2 ** len(cuts)
    for content in found:
        assert content is not None
        assert {content[cut : cut + SECTOR_BYTES] for cut in cuts} <= {OLD[:512], NEW[:512]}


def test_an_unsynced_change_of_a_files_size_may_survive_or_not(tmp_path: Path) -> None:
    grown = left(tmp_path / "1", *STORED, op("W", offset=len(OLD), data=b"x"))
    assert grown == {OLD, OLD + b"x"}
    assert left(tmp_path / "2", *STORED, op("T", offset=9)) == {OLD, OLD[:9]}


def test_a_name_needs_its_folder_synced(tmp_path: Path) -> None:
    made = [op("O"), op("W", data=OLD), op("S")]
    assert left(tmp_path / "1", *made) == {OLD, None}
    assert left(tmp_path / "2", *STORED, op("U")) == {OLD, None}


def test_a_kill_keeps_all_writes(tmp_path: Path) -> None:
    steps = [op("O"), op("W", data=OLD), op("W", data=b"n")]
    assert left(tmp_path, *steps, dark=()) == {b"n" + OLD[1:]}
