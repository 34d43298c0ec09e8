"""A peer's whole state after one commit, in pieces from which any other peer can continue.

Owns the pieces beside the engine's, their encoding, and what certifies a state. Must never do I/O.

A piece is bytes under a key. One digest covers all pieces: see `engine.hash_tree`. The state after
a commit follows from the one order alone, so it is the same on every peer, piece by piece. The
peers put its digest in the blocks that they sign. A quorum of such blocks is a certificate: a peer
that has it need not trust the sender of the pieces.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from engine import (
    KIND_SHIFT,
    PIECE_BYTES_MAX,
    Exchange,
    HashTree,
    Leaf,
    SnapshotError,
    leaf_digest,
    leaf_part,
)
from engine import Frozen as FrozenExchange
from peer.consensus import block
from peer.consensus.committee import Committee
from peer.consensus.committer import Checkpoint
from peer.replica import members
from peer.replica.client_ids import ClientIds, Name
from peer.replica.nonces import Seat, SeatRow
from peer.replica.trade import MarketTrade

# The first key of each kind of piece. The keys of the exchange are lower.
HEAD, TRADES, SEATS, GOVERNANCE, MEMBERS, CLIENT_IDS, KEYS_END = (
    n << KIND_SHIFT for n in range(2, 9)
)
PROPOSALS = GOVERNANCE + 1  # of seat 0, then of each other seat

# Peers send each other a piece, with its key, as one message.
assert PIECE_BYTES_MAX + len(leaf_part(0, b"")) <= block.FRAME_BYTES_MAX

_encode = msgspec.msgpack.Encoder().encode


class InvalidSnapshotError(ValueError):
    """Pieces that are not a state, or not the certified one."""


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What else `Replica` and `Consensus` need to continue after `checkpoint.commit`."""

    checkpoint: Checkpoint
    expected: tuple[int, ...]  # the seq of the next command of each seat that ever was
    trade_numbers: tuple[int, ...]  # of each market's last trade


class Rest(NamedTuple):
    """The state without the exchange."""

    head: Head
    trades: dict[int, list[MarketTrade]]  # the last ones, oldest first, by the market's index
    seats: dict[str, Seat]  # the key accounts in use
    governance: bytes  # its head
    proposals: dict[int, bytes]  # the open ones, by seat
    members: members.Head
    client_ids: ClientIds


_members = msgspec.msgpack.Decoder(members.Head)
_heads = msgspec.msgpack.Decoder(Head)
_trades = msgspec.msgpack.Decoder(list[MarketTrade])
_seats = msgspec.msgpack.Decoder(list[SeatRow])
_names = msgspec.msgpack.Decoder(list[Name])


def leaf_of(key: int, piece: bytes) -> Leaf:
    """The tree's leaf for a piece. An empty piece removes the leaf."""
    return Leaf(key, leaf_digest(key, piece) if piece else b"")


def encode(rows: Any) -> bytes:
    """The piece of a head, of trades, seats, proposals or names; empty if `rows` is empty."""
    return _encode(rows) if rows else b""


def read_head(piece: bytes) -> Head:
    """Decode the head. InvalidSnapshotError if it is invalid."""
    try:
        return _heads.decode(piece)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidSnapshotError(f"invalid snapshot: {error}") from None


def read(pieces: Mapping[int, bytes]) -> Rest:
    """Decode the pieces beside those of the exchange. InvalidSnapshotError if one is invalid."""
    head = read_head(pieces.get(HEAD, b""))
    try:
        membership = _members.decode(pieces.get(MEMBERS, b""))
        trades, seats, names = {}, {}, list[Name]()
        for key, piece in pieces.items():
            if TRADES <= key < SEATS:
                trades[key - TRADES] = _trades.decode(piece)
            elif SEATS <= key < GOVERNANCE:
                seats.update({name: Seat(*seat) for name, *seat in _seats.decode(piece)})
            elif CLIENT_IDS <= key < KEYS_END:
                names += _names.decode(piece)
        client_ids = ClientIds(names)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidSnapshotError(f"invalid snapshot: {error}") from None
    proposals = {k - PROPOSALS: p for k, p in pieces.items() if PROPOSALS <= k < MEMBERS}
    approved = pieces.get(GOVERNANCE, b"")
    return Rest(head, trades, seats, approved, proposals, membership, client_ids)


def exchange_of(pieces: Mapping[int, bytes]) -> Exchange:
    """Restore the exchange. InvalidSnapshotError if its pieces are invalid."""
    try:
        return Exchange.restore(item for item in pieces.items() if item[0] < HEAD)
    except SnapshotError as error:
        raise InvalidSnapshotError(f"invalid snapshot: {error}") from None


class Pieces:
    """Some pieces of the state, and their tree."""

    def __init__(self) -> None:
        self.tree = HashTree()
        self.by_key: dict[int, bytes] = {}

    def update(self, changes: Mapping[int, bytes]) -> None:
        """Replace these pieces. An empty one removes its key."""
        self.tree = self.tree.updated(leaf_of(*change) for change in changes.items())
        for key, piece in changes.items():
            self.by_key.pop(key, None)
            if piece:
                self.by_key[key] = piece


class Frozen:
    """The pieces at one moment; later changes do not affect them."""

    def __init__(self, exchange: FrozenExchange, others: Mapping[int, bytes]) -> None:
        self._exchange = exchange
        self._others = others

    def piece(self, key: int) -> bytes:
        """The piece at that moment; empty if there was none."""
        return self._exchange.piece(key) if key < HEAD else self._others.get(key, b"")

    @property
    def kept(self) -> int:
        """The number of pieces of the exchange changed since."""
        return self._exchange.kept

    def close(self) -> None:
        """Drop the kept pieces."""
        self._exchange.close()


def is_certified(
    commit: int, digest: bytes, blocks: Iterable[block.Block], committee: Committee
) -> bool:
    """Whether a quorum of authors attest this digest after this commit. The caller has verified the
    blocks' signatures."""
    said = {signed.author for signed in blocks if signed.attestation == (commit, digest)}
    return len(said) >= committee.quorum
