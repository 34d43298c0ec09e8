"""The addresses a peer remembers across restarts: `addresses.json` in its data folder.

Owns the file. Must never be required: without it, members are found as if for the first time. An
unreadable file is put aside; a failed write is logged. A thread of its own writes the file: a disk
may be slow, and the node's loop must not wait for it.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from discovery.grape import Address
from peer.consensus.committee import MEMBERS_MAX
from peer.network.addresses import PROVEN_MAX, read_address

VERSION = 1
FILE_BYTES_MAX = 256 * 1024
WRITE_MS = 1_000  # between two writes, at least

Remembered = Mapping[str, Sequence[Address]]  # by a member's key, best first

_log = logging.getLogger(__name__)


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    members: dict[str, list[str]]  # by key in hex: HOST:PORT, best first


class _Version(msgspec.Struct):
    version: int


class AddressFile:
    """Constructing touches nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Remembered = {}
        self._next_ms = 0
        self._writer: threading.Thread | None = None
        self._failed = False

    def load(self) -> Remembered:
        """The stored addresses. Nothing if there is no file or an invalid one; an invalid file is
        put aside, so that the next start does not read it again."""
        try:
            self._written = _read(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("cannot read %s, so no addresses are remembered: %s", self._path, error)
        except (ValueError, RecursionError) as error:
            aside = self._path.with_name(self._path.name + ".aside")
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            text = "%s is invalid: renamed to %s, and no addresses are remembered: %s"
            _log.warning(text, self._path, aside.name, error)
        return self._written

    def keep(self, addresses: Remembered, now_ms: int) -> None:
        """Write these addresses if they have changed, soon and without waiting."""
        busy = self._writer is not None and self._writer.is_alive()
        if addresses == self._written or busy or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + WRITE_MS
        self._writer = threading.Thread(target=self._write, args=(addresses,), daemon=True)
        self._writer.start()

    def close(self, addresses: Remembered) -> None:
        """Write the last addresses, and wait until they are written."""
        if self._writer is not None:
            self._writer.join()
        if addresses != self._written:
            self._write(addresses)

    def _write(self, addresses: Remembered) -> None:
        """After a crash, the file has either the old content or the new one."""
        members = {key: [str(one) for one in some] for key, some in addresses.items()}
        content = msgspec.json.format(msgspec.json.encode(_Content(VERSION, members)))
        new = self._path.with_name(self._path.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            self._written, self._failed = addresses, False
        except OSError as error:
            if not self._failed:
                _log.warning("cannot write %s, so addresses are not stored: %s", new, error)
            self._failed = True


def _read(path: Path) -> Remembered:
    """Raises OSError, and ValueError (also of msgspec) for invalid content."""
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"expected at most {FILE_BYTES_MAX} bytes, got more")
    version = msgspec.json.decode(content, type=_Version).version
    if version != VERSION:
        raise ValueError(f"expected version {VERSION}, got {version}")
    members = msgspec.json.decode(content, type=_Content).members
    if len(members) > MEMBERS_MAX or max(map(len, members.values()), default=0) > PROVEN_MAX:
        raise ValueError(f"expected at most {MEMBERS_MAX} members, {PROVEN_MAX} addresses each")
    return {key: [read_address(text) for text in texts] for key, texts in members.items()}
