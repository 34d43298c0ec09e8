"""How two states differ, in words for people, order by order.

Owns the words. Must never trust the pieces of another peer: it reports a piece that it can't read
as unreadable.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from engine import HEAD_KEY, Row, SnapshotError, ids_of, rows_of
from peer.replica.snapshot import CLIENT_IDS, GOVERNANCE, HEAD, KEYS_END, SEATS, TRADES

ORDERS_NAMED_MAX = 10


class Pair(NamedTuple):
    """One piece in two states: empty if the state has none, None if this is unknown."""

    key: int
    here: bytes | None
    there: bytes | None


def describe_differences(pairs: Iterable[Pair], more: int = 0) -> list[str]:
    """The first orders that differ, and the other differences. `more` is about how many pieces the
    pairs leave out."""
    texts = [text for pair in pairs for text in _differences(pair)]
    more += len(texts) - len(texts[:ORDERS_NAMED_MAX])
    rest = [f"and at least {more} more differences"] if more else []
    return [*texts[:ORDERS_NAMED_MAX], *rest]


def pairs_of(here: Mapping[int, bytes], there: Mapping[int, bytes]) -> Iterator[Pair]:
    """The pieces that differ between two whole states, by ascending key."""
    for key in sorted(here.keys() | there.keys()):
        pair = Pair(key, here.get(key, b""), there.get(key, b""))
        if pair.here != pair.there:
            yield pair


def _differences(pair: Pair) -> Iterator[str]:
    if pair.key >= HEAD_KEY:
        yield _kind_of(pair.key)
        return
    which = "orders {} to {}".format(*ids_of(pair.key))
    if pair.here is None or pair.there is None:
        yield f"{which}: this peer no longer has their piece"
        return
    try:
        here, there = rows_of(pair.key, pair.here), rows_of(pair.key, pair.there)
    except SnapshotError:
        yield f"{which}: their piece is unreadable"
        return
    for id_ in sorted(here.keys() | there.keys()):
        if here.get(id_) != there.get(id_):
            yield f"order {id_} {_difference(here.get(id_), there.get(id_))}"


def _difference(here: Row | None, there: Row | None) -> str:
    if here is None or there is None:
        return "exists only there" if here is None else "exists only here"
    values = zip(Row._fields, here, there, strict=True)
    return ", ".join(
        f"{k} {one!r:.40} here, {two!r:.40} there" for k, one, two in values if one != two
    )


def _kind_of(key: int) -> str:
    """What a piece without orders holds."""
    if key < HEAD:
        return "markets, clock, halts or last prices"
    if key < TRADES:
        return "next numbers of commands or trades, or the state of the commit rule"
    if key < SEATS:
        return f"the last trades of market {key - TRADES}"
    if key < GOVERNANCE:
        return "nonces of accounts that are keys"
    if key < CLIENT_IDS:
        return "proposals of the members"
    return "client ids of orders" if key < KEYS_END else "a piece of an unknown kind"
