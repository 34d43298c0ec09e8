"""What one commit did to orders: the stored form and its index.

Owns the encoding of a commit's record, the keys by which a journal finds it, and its piece about
one order. Must never do I/O. A record follows from the one order of commands alone, so it is the
same, byte for byte, on every peer.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from engine import (
    Accepted,
    Cancelled,
    Event,
    Expired,
    MarketState,
    OpenOrder,
    Rejected,
    Submit,
    Trade,
)

MEMBERS_SPACE = 256  # ids are seq * MEMBERS_SPACE + member

# Tuples, since Python builds `A | B` again at each use.
_FIRST = (Accepted, Rejected)
_LEFT = (Cancelled, Expired)
_FINAL = (Cancelled, Expired, Rejected)
_OTHERS = (Accepted, Trade, Rejected, MarketState)


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One commit: what the clock did before its first command, the events of each command, what
    accepted proposals did after the last one, if anything, and the rejected orders."""

    time_ms: int
    events: list[list[Event]]
    rejected: list[Submit]


class Piece(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one commit did to one order. With `open`: the state of an unknown order when this peer
    continued from a snapshot."""

    time_ms: int
    events: list[Event]
    rejected: Submit | None = None
    open: OpenOrder | None = None


class Index(NamedTuple):
    """The keys by which a journal finds a commit's record."""

    brought: dict[int, int]  # member -> its last order
    touched: set[int]  # orders of earlier commits
    ended: set[str]  # accounts with ended orders


_encode = msgspec.msgpack.Encoder().encode
_records = msgspec.msgpack.Decoder(Record)
_pieces = msgspec.msgpack.Decoder(Piece)


def record_of(
    time_ms: int,
    timed: list[Event],
    commands: Sequence[object],
    results: list[list[Event]],
    closing: list[Event] = [],  # noqa: B006 never changed
) -> Record | None:
    """None if nothing happened."""
    if not (timed or closing or any(results)):
        return None
    rejected = [
        command
        for command, events in zip(commands, results, strict=True)
        if events and type(events[0]) is Rejected and type(command) is Submit
    ]
    ends = [closing] if closing else []
    return Record(time_ms, [timed, *results, *ends], rejected)


def encode(record: Record) -> bytes:
    return _encode(record)


def decode(data: bytes) -> Record:
    """msgspec.DecodeError if `data` is not a record."""
    return _records.decode(data)


def encode_piece(piece: Piece) -> bytes:
    return _encode(piece)


def decode_piece(data: bytes) -> Piece:
    return _pieces.decode(data)


def index_of(record: Record) -> Index:
    new = [submit.id for submit in record.rejected]
    touched: set[int] = set()
    ended = {submit.account for submit in record.rejected}
    for events in record.events:
        for event in events:
            if type(event) is Accepted:
                new.append(event.id)
            elif type(event) is Trade:
                touched.add(event.maker)
                touched.add(event.taker)
                if not event.maker_remaining:
                    ended.add(event.maker_account)
                if not event.taker_remaining:
                    ended.add(event.taker_account)
            elif not isinstance(event, _OTHERS):
                touched.add(event.id)
                if isinstance(event, _LEFT):
                    ended.add(event.account)
    touched.difference_update(new)
    brought = {id_ % MEMBERS_SPACE: id_ for id_ in sorted(new)}
    return Index(brought, touched, ended)


def owner_in(piece: Piece) -> str:
    """The account of the order in a piece; empty if the piece does not say."""
    if piece.open or piece.rejected:
        return (piece.open or piece.rejected).account  # type: ignore[union-attr]
    named = (event.account for event in piece.events if not isinstance(event, Trade | MarketState))
    return next(named, "")


def orders_of(event: Event) -> tuple[int, ...]:
    """The ids of the orders in an event."""
    if isinstance(event, Trade):
        return (event.maker, event.taker)
    return () if isinstance(event, MarketState) else (event.id,)


def ends(event: Event, id_: int) -> bool:
    """Whether `event` ends the order `id_`, which is in it."""
    if isinstance(event, Trade):
        return not (event.maker_remaining if id_ == event.maker else event.taker_remaining)
    return isinstance(event, _FINAL)


def ended_in(record: Record, account: str) -> list[int]:
    """The account's orders that ended in a commit, in the order of their ends."""
    rejected = {submit.id for submit in record.rejected}
    return [
        id_
        for event in _all(record)
        for id_, owner in _owners(event)
        if owner == account
        and ends(event, id_)
        and (not isinstance(event, Rejected) or id_ in rejected)
    ]


def _owners(event: Event) -> Iterable[tuple[int, str]]:
    if isinstance(event, Trade):
        return ((event.maker, event.maker_account), (event.taker, event.taker_account))
    return () if isinstance(event, MarketState) else ((event.id, event.account),)


def _all(record: Record) -> Iterator[Event]:
    return (event for events in record.events for event in events)


def pieces_of(record: Record) -> dict[int, Piece]:
    """What a commit did to each order."""
    rejected = {submit.id: submit for submit in record.rejected}
    events: dict[int, list[Event]] = {}
    for event in _all(record):
        if not isinstance(event, Rejected) or event.id in rejected:
            for id_ in orders_of(event):
                events.setdefault(id_, []).append(event)
    return {id_: Piece(record.time_ms, each, rejected.get(id_)) for id_, each in events.items()}


def is_whole(piece: Piece, id_: int) -> bool:
    """Whether the order began and ended in this piece."""
    return isinstance(piece.events[0], _FIRST) and ends(piece.events[-1], id_)
