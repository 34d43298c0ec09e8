"""A peer's data folder: its file names and its creation.

Owns the names. The folder is made once, with a key and that key's empty journal. Must never get
another journal later: see `journal`.
"""

from itertools import count
from pathlib import Path

from peer.membership.identity import Identity
from peer.storage.database import lock
from peer.storage.journal import Journal, JournalError

KEY_FILE = "key"
JOURNAL_FILE = "journal.db"
ADDRESSES_FILE = "addresses.json"


def rejoining(data: str = "FOLDER", options: str = "OPTIONS") -> str:
    """What the operator does if the key of a folder must not be used again. `options` are those of
    before."""
    return (
        f"Rejoin under a new key: `python -m peer put-aside {data}`, then `python -m peer join "
        f"{data} {options}`"
    )


def create(data: Path) -> Identity:
    """Make a new peer's data folder. IdentityError or JournalError if it has one already."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity.create(data / KEY_FILE)
    try:
        Journal.create(data / JOURNAL_FILE, identity.public)
    except JournalError:
        (data / KEY_FILE).unlink()  # never used, and useless without its journal
        raise
    return identity


def put_aside(data: Path) -> Path | None:
    """Move the key and its journal, as far as they are there, to a folder of their own in the data
    folder. Returns that folder; None if there is neither. JournalError if the peer runs."""
    with lock(data / JOURNAL_FILE):
        found = [*data.glob(KEY_FILE), *data.glob(f"{JOURNAL_FILE}*")]  # never a journal of no key
        if not found:
            return None
        aside = next(path for number in count(1) if not (path := data / f"aside-{number}").exists())
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)
    return aside


def discard(data: Path) -> None:
    """Remove the key and its journal. Only for a key that the members have removed: it can never be
    a member's again, and `create` may make another one."""
    for path in data.glob(f"{JOURNAL_FILE}*"):  # the database, and the files beside it
        path.unlink(missing_ok=True)
    for name in (ADDRESSES_FILE, KEY_FILE):
        (data / name).unlink(missing_ok=True)
