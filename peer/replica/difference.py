"""In what two states differ, told for people: order by order.

Owns the words. Must never trust the pieces of another peer: what they hold is read, or said to be
unreadable.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from engine import CHUNK_SHIFT, HEAD_KEY, Row, SnapshotError, rows_of
from peer.replica.snapshot import HEAD, KEYS_END, SEATS, TRADES

ORDERS_NAMED_MAX = 10


class Pair(NamedTuple):
    """A piece as two states have it: empty if it is not there, None if that cannot be known."""

    key: int
    here: bytes | None
    there: bytes | None


def told(pairs: Iterable[Pair], more: int = 0) -> list[str]:
    """The first orders in which two states differ, and what else does; `more` pieces or so are not
    among the pairs."""
    texts = [text for pair in pairs for text in _differences(pair)]
    more += len(texts) - len(texts[:ORDERS_NAMED_MAX])
    rest = [f"and at least {more} more"] if more else []
    return [*texts[:ORDERS_NAMED_MAX], *rest]


def pairs_of(here: Mapping[int, bytes], there: Mapping[int, bytes]) -> Iterator[Pair]:
    """The pieces of two whole states that differ, by ascending key."""
    for key in sorted(here.keys() | there.keys()):
        pair = Pair(key, here.get(key, b""), there.get(key, b""))
        if pair.here != pair.there:
            yield pair


def _differences(pair: Pair) -> Iterator[str]:
    if pair.key >= HEAD_KEY:
        yield _kind_of(pair.key)
        return
    first = pair.key << CHUNK_SHIFT
    which = f"orders {first} to {first + (1 << CHUNK_SHIFT) - 1}"
    if pair.here is None or pair.there is None:
        yield f"{which}, whose pieces are gone"
        return
    try:
        here, there = rows_of(pair.key, pair.here), rows_of(pair.key, pair.there)
    except SnapshotError:
        yield f"{which}, whose piece is unreadable"
        return
    for id_ in sorted(here.keys() | there.keys()):
        if here.get(id_) != there.get(id_):
            yield f"order {id_} {_difference(here.get(id_), there.get(id_))}"


def _difference(here: Row | None, there: Row | None) -> str:
    if here is None or there is None:
        return "is only there" if here is None else "is only here"
    values = zip(Row._fields, here, there, strict=True)
    return ", ".join(
        f"{k} {one!r:.40} here, {two!r:.40} there" for k, one, two in values if one != two
    )


def _kind_of(key: int) -> str:
    """What a piece holds that has no orders."""
    if key < HEAD:
        return "markets, clock, halts or last prices"
    if key < TRADES:
        return "next numbers of commands or trades, or the commit rule's part"
    if key < SEATS:
        return f"the last trades of market {key - TRADES}"
    return "nonces of accounts that are keys" if key < KEYS_END else "a piece of no known kind"
