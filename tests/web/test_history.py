"""Trades and candles from before the gateway's start, read from the node's journal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from peer.replica.trade import MarketTrade
from peer.storage import history_segment as segment
from peer.storage import past_trades
from peer.storage.history_reader import History, PastCandle
from peer.storage.journal import Journal
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell, wait_for
from web.market_data.candles import (
    CANDLES_KEPT,
    DAY_MS,
    INTERVALS_SECONDS,
    Candles,
    Day,
    PastRange,
    of_past,
)

MARKET = "BTC-USD"
KEY, MESH = b"k" * 32, b"m" * 16


def trade(number: int, time_ms: int, price: int, quantity: int = 1) -> MarketTrade:
    return MarketTrade(number, time_ms, price, quantity, 0, 1, 2)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The history of a market with a trade every 400 ms, every tenth at a higher price."""
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    writer = Journal(path, KEY, MESH)
    prices = [110 if number % 10 == 0 else 100 for number in range(1, 101)]
    for n, price in enumerate(prices, 1):
        writer.history.add_trades(MARKET, [trade(n, n * 400, price, 10**15)])
        if n in (1, 2, 9, 30, 31, 70):  # some trades a row
            writer.history.flush()
    writer.history.add_trades("ETH-USD", [trade(1, 5, 7)])
    writer.close()
    return path


@pytest.fixture
def history(journal: Path) -> Iterator[History]:
    history = History(journal)
    yield history
    history.close()


def test_trades_page_backwards(history: History) -> None:
    assert [t.number for t in history.trades(MARKET, 4, 10)] == [3, 2, 1]
    assert [t.number for t in history.trades(MARKET, 2**53, 2)] == [100, 99]
    assert history.trades("ETH-USD", 2**53, 10) == [trade(1, 5, 7)]
    assert history.trades("X", 2**53, 10) == []


def test_candles_are_of_whole_intervals_and_exact(history: History) -> None:
    first, second = history.candles(MARKET, 10_000, 50, 10)[:2]
    assert first == PastCandle(0, 1, 24, 100, 110, 100, 100, 24 * 10**15, 24)
    assert (second.time_ms, second.first, second.open) == (10_000, 25, 100)
    everything = history.candles(MARKET, 3_600_000, 2**53, 10)
    assert [(c.trades, c.volume) for c in everything] == [(100, 10**17)]
    cut = history.candles(MARKET, 10_000, 2**53, 10, trades_max=60)
    assert [c.time_ms for c in cut] == [20_000, 30_000, 40_000], "the cut one is left out"
    assert [c.time_ms for c in history.candles(MARKET, 10_000, 2**53, 1)] == [40_000]


def test_many_rows_of_trades_are_read_as_one(history: History) -> None:
    """Each row makes the reading thread wait for the interpreter, and the log grows meanwhile."""
    [(text,)] = history._ask(past_trades._TRADES, (MARKET, 2**53, 90))
    assert [len(row) for row in segment.decode_rows(text)] == [30, 39, 1, 21, 7, 1, 1]
    asked = Counter[str]()
    ask = history._ask

    def counted(query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        asked[query] += 1
        return ask(query, values)

    history._ask = counted  # type: ignore[method-assign]
    assert len(history.trades(MARKET, 2**53, 99)) == 99
    assert history.candles(MARKET, 1, 2**53, 80)
    assert asked == {past_trades._TRADES: 3 + 4}


def test_a_sum_beyond_64_bits_is_still_a_sum(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path, KEY)
    writer = Journal(path, KEY, MESH)
    writer.history.add_trades(MARKET, [trade(number, 0, 1, 2**62 + 1) for number in range(1, 6)])
    writer.close()
    history = History(path)
    assert history.candles(MARKET, 1000, 9, 9)[0].volume == 5 * (2**62 + 1)
    history.close()


@pytest.mark.parametrize("time_ms", [0, 400, 401, 20_000, 40_000, 40_001])
def test_the_first_number_of_a_time_is_found(history: History, time_ms: int) -> None:
    older = [t.number for t in history.trades(MARKET, 2**53, 100) if t.time_ms < time_ms]
    assert history.number_at(MARKET, time_ms) == len(older) + 1


def test_a_journal_that_is_not_there_has_no_trades(tmp_path: Path) -> None:
    history = History(tmp_path / "none.db")
    assert history.trades(MARKET, 9, 9) == []
    assert history.number_at(MARKET, 9) <= 1
    history.close()


def candles_of(trades: Sequence[MarketTrade], has_history: bool = True) -> Candles:
    candles = Candles(has_history)
    candles.add(trades)
    return candles


def test_filled_candles_equal_those_watched_from_the_start(history: History) -> None:
    everything = history.trades(MARKET, 2**53, 100)[::-1]
    watched = candles_of(everything)
    for known in (1, 13, 60):
        for rows in (1, 7, 1_000):
            late = candles_of(everything[-known:])
            wish = late.missing_past()
            assert wish == (1, 101 - known)
            fill(late, history, rows)
            for seconds in INTERVALS_SECONDS:
                assert late.newest(seconds, 999) == watched.newest(seconds, 999)
                assert not late.needs_past(seconds, [])


def fill(candles: Candles, history: History, rows: int = 1_000) -> None:
    while wish := candles.missing_past():
        candles.fill(wish, history.parts(MARKET, wish.seconds * 1000, wish.below, rows))
        candles.check()


@pytest.mark.parametrize("rows", [1, 7, 60])
def test_a_candle_with_more_trades_than_one_read_is_whole(history: History, rows: int) -> None:
    [whole] = history.candles(MARKET, 3_600_000, 2**53, 5, 1_000)
    assert history.candles(MARKET, 3_600_000, 2**53, 5, 7) == [whole]
    if rows > 5:
        found = history.candles(MARKET, 10_000, 2**53, 5, rows)
        assert found == history.candles(MARKET, 10_000, 2**53, 5)[-len(found) :]
        assert found


def test_lost_trades_are_read_from_the_journal() -> None:
    trades = [trade(number, number * 400, 100 + number) for number in range(1, 101)]
    lossy = candles_of(trades[:40] + trades[60:])
    assert (lossy.missed, lossy.missing_past()) == (0, (1, 61))
    assert candles_of(trades[:40] + trades[60:], has_history=False).missed == 20


def test_the_last_day_counts_only_its_trades(history: History) -> None:
    now = 100 * 400 + DAY_MS
    trades = history.trades(MARKET, 2**53, 100)[::-1]
    for candles in (candles_of(trades), candles_of(trades[-7:])):
        fill(candles, history, 9)
        assert candles.day(now) == Day(0, 100, 110, 100, 110, 100 * 10**15)
        assert candles.day(now + 20_000) == Day(60_000), "all of them are older now"
    late = candles_of(trades[-7:]).day(now)
    assert late == Day(94 * 400, 100, 110, 100, 110, 7 * 10**15), "it says since when"
    gap = candles_of(trades[:40] + trades[60:], has_history=False).day(now)
    assert gap.since_ms == 61 * 400


def test_past_beyond_what_is_kept_is_left_out() -> None:
    last = CANDLES_KEPT + 1_000
    candles = candles_of([trade(last, last * 1000, 9)])
    past = [PastCandle(n * 1000, n, n, 1, 1, 1, 1, 1, 1) for n in range(1, last)]
    candles.fill(PastRange(1, last), past)
    kept = candles.newest(1, 9_999)
    assert len(kept) == CANDLES_KEPT
    assert kept[-2:-1] == [of_past(past[-1])]
    assert candles.newest(5, 9_999)[0].first == 1, "of longer intervals there is more room"
    assert candles.needs_past(1, kept)
    assert not candles.needs_past(1, kept[1:])
    assert not candles.needs_past(5, candles.newest(5, 9_999))
    candles.check()


def test_returned_candles_do_not_change(history: History) -> None:
    """They are encoded while other candles are added before and behind them."""
    everything = history.trades(MARKET, 2**53, 100)[::-1]
    candles = candles_of(everything[50:-1])
    found = candles.newest(60, 99)
    then = deepcopy(found)
    candles.add(everything[-1:])
    fill(candles, history)
    assert found == then
    assert candles.newest(60, 99) != then


def _day_of(gateway: Gateway, volume: int) -> Any:
    told = gateway.get("/ticker")
    return told if Decimal(told["volume"]) == volume else None


def test_a_new_gateway_knows_the_trades_of_the_old_one(tmp_path: Path) -> None:
    count = 230  # more than a node tells by itself
    with lone_peer(tmp_path) as data:
        with running_gateway(data) as first:
            first.wait_ready()
            for start in range(0, count, 46):
                some = range(start, start + 46)
                orders = [o(f"{100 + n % 7}", "1") for n in some for o in (sell, buy)]
                assert first.ask("POST", "/orders", {"orders": orders}).status == 200
            whole = first.get("/candles?interval=86400")["candles"][-1]
        with running_gateway(data) as second:
            second.wait_ready()
            trades = second.get("/trades?limit=1000")["trades"]
            assert [t["number"] for t in trades] == list(range(count, 0, -1))
            page = second.get("/trades?limit=5&before=28")["trades"]
            assert page == trades[count - 27 : count - 22]
            day = second.get("/candles?interval=86400")["candles"][-1]
            assert (day["trades"], Decimal(day["volume"])) == (count, count)
            assert day == whole
            seconds = second.get("/candles?interval=1")["candles"]
            assert sum(candle["trades"] for candle in seconds) == count
            older = second.get(f"/candles?interval=1&before={seconds[-1]['time']}&limit=2")
            assert older["candles"] == seconds[-3:-1]
            told = wait_for("the day", lambda: _day_of(second, count))
            assert (told["open"], told["high"], told["low"]) == ("100.00", "106.00", "100.00")
            with second.websocket("?channels=ticker") as stream:
                assert stream.channel("ticker")["volume"] == told["volume"]
                second.order(**sell("95", "1"))
                second.order(**buy("95", "2"))
                fallen = stream.next(lambda m: m["trades"] == count + 1)
                assert (fallen["low"], fallen["change"]) == ("95.00", "-5.00")
                assert fallen["change_percent"] == "-5.00"
            second.ask("DELETE", "/orders?account=alice")
            count += 1
            second.order(**sell("150", "1"))
            second.order(**buy("150", "1"))
            wait_for(
                "the new candle",
                lambda: second.get("/candles?interval=86400")["candles"][-1]["trades"] == count + 1,
            )
