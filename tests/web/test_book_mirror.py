"""The mirror of a book, compared with the engine: random flow, losses, books deeper than known."""

import random
from collections.abc import Iterator

import pytest

from engine import Cancel, Event, Market, Side, Submit, Trade
from engine.exchange import Exchange
from peer.client import levels as module
from peer.client.levels import SideMirror
from peer.client.protocol import Level, MarketUpdate, Share, State
from peer.client.units import units_of
from peer.replica.trade import MarketTrade
from web.market_data.book_mirror import BookMirror, checksum_of
from web.market_data.candles import CANDLES_KEPT, Candles

MARKET = Market("M", tick="0.5", lot="0.01")


class Source:
    """The engine, publishing as a node does."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.exchange = Exchange([MARKET])
        self.count = self.seq = self.trades = 0
        self.newest: list[MarketTrade] = []

    def step(self, spread: int) -> MarketUpdate | None:
        self.count += 1
        rng = self.rng
        command: Submit | Cancel
        if rng.random() < 0.3:
            command = Cancel(self.count, "a", rng.randint(1, self.count))
        else:
            side, price = rng.choice(list(Side)), 1000 + rng.randint(-spread, spread)
            command = Submit(self.count, "a", "M", side, rng.randint(1, 9), price)
        trades = [self._view(event) for event in _trades(self.exchange.apply(command))]
        changes = self.exchange.changes("M")
        if not changes and not trades:
            return None
        self.seq += 1
        self.newest = [*reversed(trades), *self.newest][:200]
        bids, asks = ([c[1:] for c in changes if c[0] is side] for side in Side)
        shares = (
            self.shares(side, levels) for side, levels in zip(Side, (bids, asks), strict=True)
        )
        return MarketUpdate("M", self.seq, self.count, self.count, bids, asks, trades, *shares)

    def shares(self, side: Side, levels: list[Level]) -> list[list[Share]]:
        return [self.exchange.shares("M", side, level[0]) for level in levels]

    def _view(self, trade: Trade) -> MarketTrade:
        self.trades += 1
        t = trade
        return MarketTrade(self.trades, self.count, t.price, t.quantity, t.side, t.maker, t.taker)

    def state(self, depth: int) -> State:
        bids, asks = (self.depth(side, depth) for side in Side)
        shares = (
            self.shares(side, levels) for side, levels in zip(Side, (bids, asks), strict=True)
        )
        return State("M", self.seq, self.count, self.count, b"", bids, asks, self.newest, *shares)

    def depth(self, side: Side, count: int) -> list[Level]:
        return self.exchange.depth("M", side, count)


def _trades(events: list[Event]) -> Iterator[Trade]:
    return (event for event in events if isinstance(event, Trade))


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_shows_what_the_engine_holds(seed: int) -> None:
    source, mirror = Source(seed), BookMirror(units_of(MARKET))
    lost = 0
    mirror.reset(source.state(1000))
    for _ in range(1500):
        update = source.step(30)
        if update is None:
            continue
        if source.rng.random() < 0.01:
            lost += 1
            mirror.reset(source.state(1000))
        else:
            mirror.stage(update)
        mirror.complete(update.commit, update.time_ms, b"")
        for side, mirrored in ((Side.BUY, mirror.bids), (Side.SELL, mirror.asks)):
            assert mirrored.levels(1000) == source.depth(side, 1000)
            shares = [mirrored.shares(level[0]) for level in mirrored.levels(1000)]
            assert shares == source.shares(side, mirrored.levels(1000))
        assert list(mirror.trades) == source.newest
        mirror.check()
    assert lost


def test_a_new_listener_gets_no_trade_twice() -> None:
    """The first snapshot has the trades of past deltas; the next delta has the new ones."""
    source, mirror = Source(3), BookMirror(units_of(MARKET))
    mirror.reset(source.state(1000))
    told = 0
    for _ in range(200):
        if (update := source.step(5)) is not None:
            mirror.stage(update)
            mirror.complete(update.commit, update.time_ms, b"")
        seq, trades = mirror.sent_trades
        assert (seq, [trade.number for trade in trades]) == (told, [*range(told, 0, -1)])
        if source.count % 3 == 0:
            delta = [trade.number for trade in mirror.take_delta().trades]
            assert delta == [*range(told + 1, source.trades + 1)]
            told = source.trades
    assert told > 20


def test_snapshot_and_deltas_give_the_same_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that follows the deltas has the same book as the mirror, although the mirror knows
    only the best levels and drops the worst."""
    monkeypatch.setattr(module, "DEPTH_MAX", 20)
    monkeypatch.setattr(module, "LEVELS_MAX", 30)
    source, mirror = Source(7), BookMirror(units_of(MARKET))
    mirror.reset(source.state(20))
    browser: list[dict[int, Level]] = [{}, {}]
    resets = 0
    for _ in range(3000):
        update = source.step(60)
        if update is not None:
            mirror.stage(update)
            mirror.complete(update.commit, update.time_ms, b"")
        if mirror.is_short:
            resets += 1
            mirror.reset(source.state(20))
            browser = [{level[0]: level for level in s.levels(99)} for s in _sides(mirror)]
        elif mirror.has_changes:
            delta = mirror.take_delta()
            for side, levels in zip(browser, (delta.bids, delta.asks), strict=True):
                side.update((level[0], level) for level in levels)
        for side, known in zip(_sides(mirror), browser, strict=True):
            left = {price: level for price, level in known.items() if level[1]}
            assert left == {level[0]: level for level in side.levels(99)}
        for number, side in zip(Side, _sides(mirror), strict=True):
            shown = side.levels(10)
            assert shown == source.depth(number, len(shown))
        mirror.check()
    assert resets < 100, "deep books are followed, not fetched again and again"


def _sides(mirror: BookMirror) -> tuple[SideMirror, SideMirror]:
    return mirror.bids, mirror.asks


def test_levels_trades_and_commit_change_together() -> None:
    mirror = BookMirror(units_of(MARKET))
    mirror.reset(State("M", 0, 0, 0, b"old", [], [], []))
    mirror.stage(MarketUpdate("M", 1, 1, 5, [(10, 1, 1)], [], []))
    assert (mirror.bids.levels(9), mirror.digest) == ([], b"old")
    assert mirror.complete(1, 5, b"new")
    assert (mirror.bids.levels(9), mirror.digest) == ([(10, 1, 1)], b"new")
    assert not mirror.complete(2, 6, b"newer")
    assert (mirror.commit, mirror.digest) == (2, b"newer")


def test_an_update_out_of_sequence_is_never_taken() -> None:
    mirror = BookMirror(units_of(MARKET))
    update = MarketUpdate("M", 5, 5, 0, [(5, 1, 1)], [], [])
    with pytest.raises(AssertionError):
        mirror.stage(update)
    for seq in (3, 5, 6):
        mirror.reset(State("M", seq, seq, 0, b"", [(3, 1, 1), (4, 1, 1)], [], []))
        with pytest.raises(AssertionError):
            mirror.stage(update)
    mirror.reset(State("M", 4, 4, 0, b"", [(3, 1, 1), (4, 1, 1)], [], []))
    mirror.stage(update)
    mirror.complete(5, 0, b"")
    assert [level[0] for level in mirror.bids.levels(9)] == [5, 4, 3]


def test_a_state_replaces_staged_updates() -> None:
    mirror = BookMirror(units_of(MARKET))
    mirror.reset(State("M", 4, 4, 0, b"", [], [], []))
    mirror.stage(MarketUpdate("M", 5, 5, 0, [(5, 1, 1)], [], []))
    mirror.reset(State("M", 0, 7, 0, b"", [(6, 1, 1)], [], []))
    assert not mirror.complete(7, 0, b"")
    assert mirror.bids.levels(9) == [(6, 1, 1)]


def test_the_checksum_is_over_digits_alone() -> None:
    assert checksum_of(["0.0500", "1.20"]) == checksum_of(["500", "120"])
    assert checksum_of([]) == 0


def test_candles_hold_every_trade_once() -> None:
    rng, candles = random.Random(1), Candles()
    trades = [
        MarketTrade(n, n * 1_100, rng.randint(90, 110), rng.randint(1, 9), 0, 1, 2)
        for n in range(1, 7_000)
    ]
    for start in range(0, len(trades), 50):
        candles.add(trades[start : start + 50])
        candles.add(trades[max(0, start - 20) : start + 10])
    candles.check()
    assert candles.missed == 0
    hours = candles.newest(86_400, 9)
    assert [c.volume for c in hours] == [sum(t.quantity for t in trades)]
    assert (hours[0].open, hours[0].close) == (trades[0].price, trades[-1].price)
    assert len(candles.newest(1, 9_999)) == CANDLES_KEPT
    candles.add([MarketTrade(7_010, 0, 1, 1, 0, 1, 2)])
    assert candles.missed == 10
