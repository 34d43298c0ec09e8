"""A peer's whole state after one commit, as bytes that any other peer can go on from.

Owns the encoding and the digest that peers compare. Must never do I/O.

The state after a commit follows from the one order alone, so it is the same on every peer; its
digest stands in the blocks that the peers sign. A quorum of such blocks is a certificate: whoever
has it need not trust the one that hands over the snapshot.
"""

from collections.abc import Iterable

import msgspec

from engine import Exchange, SnapshotError
from peer.consensus import block
from peer.consensus.committee import Committee
from peer.consensus.committer import Checkpoint
from peer.replica.nonces import Seat
from peer.replica.trade import MarketTrade

_encode = msgspec.msgpack.Encoder().encode


class InvalidSnapshotError(ValueError):
    """Bytes that are no snapshot, or not the one that was certified."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `Replica` and `Consensus` need to go on after `checkpoint.commit`."""

    checkpoint: Checkpoint
    expected: tuple[int, ...]  # the seq of each author's next command
    trades: dict[str, list[MarketTrade]]  # the last ones of each market, oldest first
    trade_numbers: dict[str, int]
    exchange: bytes
    seats: dict[str, Seat] = {}  # the key accounts in use


_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    return _encode(snapshot)


def decode(data: bytes) -> tuple[Snapshot, Exchange]:
    """The snapshot in `data`, and the exchange it holds. InvalidSnapshotError if it is none."""
    try:
        snapshot = _decoder.decode(data)
        return snapshot, Exchange.restore(snapshot.exchange)
    except (msgspec.DecodeError, SnapshotError, UnicodeDecodeError) as error:
        raise InvalidSnapshotError(f"not a snapshot: {error}") from None


def digest_of(snapshot: Snapshot, exchange: Exchange) -> bytes:
    """The digest of the state after a commit: of everything that a snapshot holds. The exchange
    keeps its own digest, so `snapshot.exchange` may be left empty."""
    rest = msgspec.structs.replace(snapshot, exchange=exchange.digest())
    return block.digest_of(encode(rest))


def is_certified(
    commit: int, digest: bytes, blocks: Iterable[block.Block], committee: Committee
) -> bool:
    """Whether a quorum of authors say, in blocks whose signatures are verified, that this is the
    digest after this commit."""
    said = {signed.author for signed in blocks if signed.attestation == (commit, digest)}
    return len(said) >= committee.quorum
