"""What can be on a disk after the power failed, from the record of what a program did to it.

Owns the model of the disk, a pure function of the record, the moment and a random generator:

* what was written before a file's last fsync is there;
* of every later write, each sector is there or not, in any combination; of two writes to one sector
  either can be the one that stayed; a later cut of the file's length may have happened or not;
* a file made or removed since its folder's last fsync may be there or not.

Not covered: a disk that says it has stored what it has not, and sectors of which the power failure
leaves neither the old nor the new content. SQLite promises nothing on those either.
"""

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR_BYTES = 512
MARKS = "marks"  # to this file the program writes what it tells the world; no part of the disk

_HEAD = struct.Struct("=BBHIQ")


class Op(NamedTuple):
    """One step of a program; `shim.c` writes them."""

    kind: str  # W write, T truncate to `offset`, S sync, O open for writing, U unlink
    path: str
    offset: int
    data: bytes


def read(trace: bytes) -> Iterator[Op]:
    """The record, in order."""
    place = 0
    while place < len(trace):
        kind, path_bytes, _, data_bytes, offset = _HEAD.unpack_from(trace, place)
        path_at = place + _HEAD.size
        data_at = path_at + path_bytes
        place = data_at + data_bytes
        yield Op(chr(kind), trace[path_at:data_at].decode(), offset, trace[data_at:place])


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Op] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.unsynced:
            _do(self.durable, op)
        self.unsynced.clear()

    def written(self) -> bytearray:
        """As the running system sees it: all that a killed process leaves."""
        content = bytearray(self.durable)
        for op in self.unsynced:
            _do(content, op)
        return content

    def after_power_failure(self, rng: random.Random) -> bytearray:
        content = bytearray(self.durable)
        kept = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # the share of what stays
        ops = list(self.unsynced)
        if rng.random() < 0.5:
            rng.shuffle(ops)
        for op in ops:
            if op.kind == "T":
                if rng.random() < kept:
                    _do(content, op)
                continue
            for sector in _sectors(op):
                if rng.random() < kept:
                    _do(content, sector)
        return content


def _do(content: bytearray, op: Op) -> None:
    if op.kind == "T":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
        return
    content.extend(bytes(max(op.offset - len(content), 0)))
    content[op.offset : op.offset + len(op.data)] = op.data


def _sectors(op: Op) -> Iterator[Op]:
    """A write, cut where sectors of the disk begin."""
    first = op.offset // SECTOR_BYTES * SECTOR_BYTES
    for start in range(first, op.offset + len(op.data), SECTOR_BYTES):
        begin, end = max(start, op.offset), min(start + SECTOR_BYTES, op.offset + len(op.data))
        yield op._replace(offset=begin, data=op.data[begin - op.offset : end - op.offset])


class Disk:
    """The files at some moment of a program's run."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}  # by path, as the running system sees them
        self._durable: dict[str, _File] = {}  # those whose names survive
        self.marks: list[bytes] = []
        self._line = b""

    @classmethod
    def of(cls, root: Path, marks: Iterable[bytes]) -> "Disk":
        """What lies in a folder that nobody has touched for long."""
        disk = cls()
        disk.marks = list(marks)
        for place in root.rglob("*"):
            if place.is_file():
                disk._files[str(place)] = _File(bytearray(place.read_bytes()))
        disk._durable = dict(disk._files)
        return disk

    def do(self, op: Op) -> None:
        """The program's next step."""
        if op.path.endswith("/" + MARKS):
            self._mark(op)
        elif op.kind == "U":
            del self._files[op.path]
        elif op.kind == "S" and op.path not in self._files:
            self._sync_names(op.path + "/")
        elif op.kind == "S":
            self._files[op.path].sync()
        else:
            file = self._files.setdefault(op.path, _File())
            if op.kind != "O":
                file.unsynced.append(op)

    def _mark(self, op: Op) -> None:
        *lines, self._line = (self._line + op.data).split(b"\n")
        self.marks += lines

    def _sync_names(self, folder: str) -> None:
        for path in [p for p in self._durable if p.startswith(folder)]:
            del self._durable[path]
        self._durable |= {p: file for p, file in self._files.items() if p.startswith(folder)}

    def write_to(self, root: str, folder: Path, dark: Iterable[str], rng: random.Random) -> None:
        """Leave in `folder` what is left of `root`: where a path begins with one of `dark` after a
        power failure, elsewhere after a kill of the program."""
        dark = tuple(f"{root}/{name}/" for name in dark)
        for path in sorted(self._files.keys() | self._durable.keys()):
            file, durable = self._files.get(path), self._durable.get(path)
            if path.startswith(dark):
                file = rng.choice((file, durable))
                content = None if file is None else file.after_power_failure(rng)
            else:
                content = None if file is None else file.written()
            if content is not None:
                place = folder / Path(path).relative_to(root)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                place.write_bytes(content)
                place.chmod(0o600)
