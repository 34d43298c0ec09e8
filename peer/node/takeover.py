"""Another peer's state in place of this peer's: what it is, and what the history keeps of the gap.

Owns the comparison of the two. Must never decide to take a state over: the loop does.
"""

from collections.abc import Iterable

from engine import HEAD_KEY, changed_ids
from peer.membership.epochs import Epoch
from peer.replica.feature_level import Levels
from peer.replica.snapshot import InvalidSnapshotError, leaf_of
from peer.replica.state_machine import Replica
from peer.storage.data_folder import rejoining
from peer.storage.history_writer import HistoryWriter
from peer.storage.state_sync import Fetched


class KeyElsewhereError(Exception):
    """This peer's key has signed more than its journal knows."""


def check_round(here: int, round_: int) -> None:
    """KeyElsewhereError if there is an own block of a later round than the journal's newest."""
    if round_ > here:
        raise KeyElsewhereError(
            f"this peer's key has signed a block of round {round_}, but its journal ends at round "
            f"{here}: the journal is an old copy, or another process uses the same key. "
            f"{rejoining()}"
        )


def changed_by(own: Replica, fetched: Fetched, epoch: Epoch, levels: Levels) -> Replica:
    """The own state with the differences from another peer's applied, which is of this epoch.
    InvalidSnapshotError if it is not the certified one."""
    pieces, certified = fetched.pieces, fetched.manifest
    tree = own.tree.updated(leaf_of(*change) for change in pieces.items())
    if tree.digest == certified.digest:
        every = {key: pieces.get(key) or own.piece(key) for key, _ in tree}
        replica = Replica.restore(epoch, every, levels)
        if (replica.commit, replica.tree.digest) == certified[:2]:
            return replica
    raise InvalidSnapshotError("expected the state that a quorum has signed, got another")


def keep_gap(history: HistoryWriter, own: Replica, new: Replica, changed: Iterable[int]) -> None:
    """Events between the two states are unknown here. For each order that has changed, the history
    stores its present state."""
    for symbol, trades in new.trades.items():
        history.add_trades(symbol, trades)
    history.note_gap(own.commit + 1, new.commit)
    keys = (key for key in changed if key < HEAD_KEY)
    ids = (id_ for key in keys for id_ in changed_ids(key, own.piece(key), new.piece(key)))
    orders = (order for order in map(new.exchange.order, ids) if order is not None)
    history.add_open(new.commit, new.time_ms, orders)
