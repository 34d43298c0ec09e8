"""Another peer's state in place of this peer's: what it is, and what the history keeps of the gap.

Owns the comparison of the two. Must never decide to take a state over: the loop does.
"""

from engine import Came, Exchange, SnapshotError
from peer.consensus.committer import Checkpoint
from peer.membership.epochs import Epoch
from peer.replica.feature_level import Levels
from peer.replica.snapshot import HEAD, InvalidSnapshotError, leaf_of, read_head
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


def checkpoint_of(own: Replica, fetched: Fetched) -> Checkpoint:
    """Where the fetched state is. InvalidSnapshotError if it is not the certified one."""
    tree = own.tree.updated(leaf_of(*change) for change in fetched.pieces.items())
    if tree.digest != fetched.manifest.digest:
        raise _another()
    return read_head(fetched.pieces.get(HEAD, b"")).checkpoint


def changed_by(
    own: Replica, fetched: Fetched, epoch: Epoch, levels: Levels
) -> tuple[Replica, Came]:
    """A replica in the fetched state, which is of this epoch, and the open orders that are new in
    it. It takes the own replica's exchange: use it at once, whatever fails afterwards.
    InvalidSnapshotError if the state is not the certified one; then the own replica is as it was.
    """
    before = list(own.exchange.pieces())
    changes = {key: piece for key, piece in fetched.pieces.items() if key < HEAD}
    others = {key: own.piece(key) for key, _ in own.tree if key >= HEAD} | fetched.pieces
    rest = {key: piece for key, piece in others.items() if key >= HEAD and piece}
    try:
        came = own.exchange.revise(changes)
        replica = Replica.restore(epoch, rest, levels, own.exchange)
        if (replica.commit, replica.tree.digest) != fetched.manifest[:2]:
            raise _another()
    except (SnapshotError, InvalidSnapshotError) as error:
        own.exchange = own.rules.exchange = Exchange.restore(before)
        if isinstance(error, InvalidSnapshotError):
            raise
        raise InvalidSnapshotError(f"invalid snapshot: {error}") from None
    return replica, came


def _another() -> InvalidSnapshotError:
    return InvalidSnapshotError("expected the state that a quorum has signed, got another")


def keep_gap(history: HistoryWriter, first: int, new: Replica, came: Came) -> None:
    """Events between the two states are unknown here, from commit `first` on. For each order that
    came or is another one now, the history stores its present state."""
    for symbol, trades in new.trades.items():
        history.add_trades(symbol, trades)
    history.note_gap(first, new.commit)
    history.add_open(new.commit, new.time_ms, *came)
