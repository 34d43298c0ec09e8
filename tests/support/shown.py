"""What must hold for everything that peers showed while they were killed, paused and cut off.

Owns the comparison of what readers and traders saw with the journals in the end: a pure function of
both. Must never talk to a peer.

A peer never goes back: a later answer, even after a kill -9, shows no older commit, time or trade.
Two peers may be at different commits at the same moment. But for one commit they show the same, and
it is what follows from the events of all commits up to it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from engine import Event
from peer.client.protocol import (
    AccountUpdate,
    Committed,
    Lost,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    State,
    Streamed,
)
from tests.support.past import Account, Market, Past
from tests.support.readers import Seen

_UNDATED = Orders | PendingUpdate | Lost

_decode = msgspec.msgpack.Decoder(Streamed).decode


class Told(NamedTuple):
    """A final result that a peer sent to a trader."""

    at_s: float
    commit: int
    time_ms: int
    events: list[Event]


def faults(past: Past, seen: Sequence[Seen], told: Mapping[str, Sequence[Told]]) -> list[str]:
    """All contradictions; empty if there are none. `told` is by peer."""
    found = list(past.contradictions)
    for one in seen:
        found += _went_back(one, told.get(one.name, ()))
    found += _differences(past, seen, told)
    found += _unmade(past, seen)
    found += _invented(past, told)
    return found


# Nothing goes back


@dataclass
class _Newest:
    """The newest values shown; -1: unknown."""

    commit: int = -1
    time_ms: int = -1
    trade: int = -1

    def older(self, later: "_Newest") -> str:
        """Which values are older in something shown later."""
        pairs = ((name, before, getattr(later, name)) for name, before in vars(self).items())
        return ", ".join(
            f"{name} {now} after {before}" for name, before, now in pairs if 0 <= now < before
        )

    def add(self, shown: "_Newest") -> None:
        for name, before in vars(self).items():
            setattr(self, name, max(before, getattr(shown, name)))


def _went_back(seen: Seen, told: Sequence[Told]) -> Iterator[str]:
    """Where a peer showed something older than before: on its feed, or in an answer to a question
    that was asked after something newer had come."""
    feed = [(m.shown_s, _extent(_decode(m.body))) for m in seen.feed]
    answers = [(a.asked_s, a.shown_s, _extent(_decode(a.state))) for a in seen.answers]
    newest = _Newest()
    for _, extent in feed:
        if what := newest.older(extent):
            yield f"the feed of {seen.name} went back: {what}"
        newest.add(extent)
    shown = [(shown_s, extent) for _, shown_s, extent in answers]
    shown += feed
    shown += [(one.at_s, _Newest(one.commit, one.time_ms)) for one in told]
    asked = [(asked_s, extent) for asked_s, _, extent in answers]
    yield from (f"{seen.name} went back: {what}" for what in _stale(asked, shown))


def _stale(
    asked: Iterable[tuple[float, _Newest]], shown: Iterable[tuple[float, _Newest]]
) -> Iterator[str]:
    """Answers that are older than something shown before their question was asked."""
    newest, before = _Newest(), sorted(shown, key=lambda one: -one[0])
    for asked_s, extent in sorted(asked, key=lambda one: one[0]):
        while before and before[-1][0] < asked_s:
            newest.add(before.pop()[1])
        if what := newest.older(extent):
            yield what


def _extent(shown: Streamed) -> _Newest:
    """The commit, time and trade in a message."""
    if isinstance(shown, _UNDATED):
        return _Newest()
    extent = _Newest(shown.commit)
    if not isinstance(shown, Mesh):
        extent.time_ms = shown.time_ms
    if isinstance(shown, State | MarketUpdate):
        nothing = 0 if isinstance(shown, State) else -1
        extent.trade = max((trade.number for trade in shown.trades), default=nothing)
    return extent


# One commit is the same everywhere


def _differences(
    past: Past, seen: Sequence[Seen], told: Mapping[str, Sequence[Told]]
) -> Iterator[str]:
    """Commits for which two different digests or times were seen."""
    digests: dict[int, bytes] = {}
    times = {number: record.time_ms for number, record in past.records.items()}
    for name, body in _all(seen):
        shown = _decode(body)
        if isinstance(shown, _UNDATED):
            continue
        if isinstance(shown, State | Committed | Mesh) and shown.digest != digests.setdefault(
            shown.commit, shown.digest
        ):
            yield f"{name} showed another digest at commit {shown.commit} than was seen before"
        if not isinstance(shown, Mesh) and shown.time_ms != times.setdefault(
            shown.commit, shown.time_ms
        ):
            yield f"{name} showed another time of commit {shown.commit} than was seen before"
    for name, results in told.items():
        for one in results:
            if one.time_ms != times.setdefault(one.commit, one.time_ms):
                yield f"{name} told another time of commit {one.commit} than was seen before"


def _all(seen: Iterable[Seen]) -> Iterator[tuple[str, bytes]]:
    """All messages, encoded: decoded ones would fill the memory."""
    for one in seen:
        yield from ((one.name, answer.state) for answer in one.answers)
        yield from ((one.name, message.body) for message in one.feed)


# Nothing is shown that does not follow from commits


def _unmade(past: Past, seen: Sequence[Seen]) -> Iterator[str]:
    """Shown markets and orders that differ from what follows from the events."""
    by_commit: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
    for name, body in _all(seen):
        if isinstance(shown := _decode(body), State | MarketUpdate):
            by_commit[shown.commit].append((name, body))
    market = Market(past.records)
    for commit in sorted(by_commit):
        market.read_to(commit)
        for name, body in by_commit[commit]:
            if what := market.wrong(_decode(body)):
                yield f"{name} at commit {commit} {what}"
    market.read_to()
    for one in seen:
        yield from _wrong_orders(one, market.accounts)
        yield from _wrong_events(one, market.accounts)


def _wrong_orders(seen: Seen, accounts: Mapping[str, Account]) -> Iterator[str]:
    for account, first, last, orders in seen.held:
        if not accounts[account].held(first, last, orders):
            when = f"from commit {first} to {last}"
            yield f"{seen.name} showed orders that {account} did not have {when}: {orders}"


def _wrong_events(seen: Seen, accounts: Mapping[str, Account]) -> Iterator[str]:
    """Check that a feed begins with the account's orders, and that its updates have all events."""
    commit = 0
    ends: dict[str, tuple[int, int]] = {}  # seq of the last update, and events up to there
    for message in seen.feed:
        shown = _decode(message.body)
        if isinstance(shown, State):
            commit = shown.commit
        elif isinstance(shown, Orders):
            account = accounts[shown.account]
            ends[shown.account] = shown.seq, account.upto(commit)
            if not account.held(commit, commit, shown.open):
                what = f"{shown.open} of {shown.account}"
                yield f"the feed of {seen.name} began at commit {commit} with {what}"
        elif isinstance(shown, PendingUpdate | AccountUpdate):
            seq, first = ends[shown.account]
            if shown.seq != seq + 1:
                what = f"{shown.seq - seq - 1} updates of {shown.account}"
                yield f"the feed of {seen.name} lacks {what}"
            last = first
            if isinstance(shown, AccountUpdate):
                account = accounts[shown.account]
                last = account.upto(shown.commit)
                if shown.events != account.events(first, last):
                    what = f"{shown.events} of {shown.account}"
                    yield f"{seen.name} showed at commit {shown.commit} {what}"
            ends[shown.account] = shown.seq, last


def _invented(past: Past, told: Mapping[str, Sequence[Told]]) -> Iterator[str]:
    for name, results in told.items():
        for one in results:
            record = past.records.get(one.commit)
            if one.events and (record is None or one.events not in record.events):
                yield f"{name} told {one.events}, but commit {one.commit} did no such thing"
