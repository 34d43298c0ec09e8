"""A peer's data folder: its file names and its creation.

Owns the names. The folder is made once, with a key and that key's empty journal. Must never get
another journal later: see `journal`.
"""

from pathlib import Path

from peer.membership.identity import Identity
from peer.storage.journal import Journal, JournalError

KEY_FILE = "key"
JOURNAL_FILE = "journal.db"
ADDRESSES_FILE = "addresses.json"


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


def discard(data: Path) -> None:
    """Remove the key and its journal. Only for a key that the members have removed: it can never be
    a member's again, and `create` may make another one."""
    for path in data.glob(f"{JOURNAL_FILE}*"):  # the database, and the files beside it
        path.unlink(missing_ok=True)
    for name in (ADDRESSES_FILE, KEY_FILE):
        (data / name).unlink(missing_ok=True)
