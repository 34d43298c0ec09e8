"""A peer's data folder: the names of its files, and how it begins.

Owns the names. The folder is made once, with a key and the empty journal of that key; must never
get another journal later: see `journal`.
"""

from pathlib import Path

from peer.membership.identity import Identity
from peer.storage.journal import Journal, JournalError

KEY_FILE = "key"
JOURNAL_FILE = "journal.db"
ADDRESSES_FILE = "addresses.json"


def create(data: Path) -> Identity:
    """Make the data folder of a new peer. IdentityError or JournalError if it has one already."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity.create(data / KEY_FILE)
    try:
        Journal.create(data / JOURNAL_FILE, identity.public)
    except JournalError:
        (data / KEY_FILE).unlink()  # never used, and without its journal it never can be
        raise
    return identity
