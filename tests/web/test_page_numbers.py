"""The page's pure modules for numbers and times, against Python's exact arithmetic."""

import csv
import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.javascript import Scripts, running_scripts


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with running_scripts() as scripts:
        yield scripts


def fills_of(rng: random.Random, places: int, lots: int) -> list[dict[str, Any]]:
    return [
        {
            "price": f"{Decimal(rng.randint(1, 10**6)).scaleb(-places):f}",
            "quantity": f"{Decimal(rng.randint(1, 2**53 - 1)).scaleb(-lots):f}",
            "side": rng.choice(["buy", "sell"]),
        }
        for _ in range(rng.randint(1, 30))
    ]


@pytest.mark.parametrize(("places", "lots"), [(2, 8), (12, 12), (0, 0), (8, 2)])
def test_an_average_price_is_exact(scripts: Scripts, places: int, lots: int) -> None:
    rng = random.Random(places)
    for _ in range(20):
        fills = fills_of(rng, places, lots)
        cost = sum(Fraction(f["price"]) * Fraction(f["quantity"]) for f in fills)
        exact = cost / sum(Fraction(f["quantity"]) for f in fills)
        told = Fraction(scripts.call("decimal", "averageOf", fills))
        assert abs(told - exact) <= Fraction(1, 2 * 10 ** (places + 2))


@pytest.mark.parametrize("seed", range(5))
def test_positions_and_profit_are_those_of_average_cost(scripts: Scripts, seed: int) -> None:
    """Whatever the order of fills: realized plus unrealized is what was got less what was paid."""
    rng = random.Random(seed)
    fills = fills_of(rng, 2, 8)
    told = scripts.call("positions", "positionOf", fills)
    sign = {"buy": 1, "sell": -1}
    size = sum(sign[f["side"]] * Fraction(f["quantity"]) for f in fills)
    paid = sum(sign[f["side"]] * Fraction(f["quantity"]) * Fraction(f["price"]) for f in fills)
    assert Fraction(told["size"]) == size
    last = "123.45"
    unrealized = Fraction(scripts.call("positions", "unrealizedOf", told, last))
    assert Fraction(told["realized"]) + unrealized == size * Fraction(last) - paid
    assert told["count"] == len(fills)
    assert Fraction(told["bought"]) - Fraction(told["sold"]) == size


def test_a_closed_position_has_only_realized_profit(scripts: Scripts) -> None:
    fills = [
        {"price": "100.00", "quantity": "2.0", "side": "buy"},
        {"price": "110.00", "quantity": "1.0", "side": "sell"},
        {"price": "90.00", "quantity": "3.0", "side": "sell"},
        {"price": "80.00", "quantity": "2.0", "side": "buy"},
    ]
    told = scripts.call("positions", "positionOf", fills)
    assert (told["size"], told["average"]) == ("0.0", None)
    assert Decimal(told["realized"]) == 10 - 10 + 20


_PREVIEW = """async (load, asked) => {
  const { previewOf, slippageOf } = await load("preview");
  const found = previewOf({ ...asked, limit: asked.limit });
  return { ...found, slippage: slippageOf(found, asked.side) };
}"""


@pytest.mark.parametrize("seed", range(4))
def test_the_preview_is_what_a_naive_book_does(scripts: Scripts, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        side = rng.choice(["buy", "sell"])
        step = 1 if side == "buy" else -1
        prices = sorted(rng.sample(range(90, 110), rng.randint(0, 6)), reverse=step < 0)
        levels = [[price, rng.randint(1, 9)] for price in prices]
        asked = {
            "side": side,
            "levels": levels,
            "amount": rng.randint(1, 30),
            "limit": rng.choice([None, rng.randint(88, 112)]),
            "mayRest": rng.random() < 0.5,
            "isWhole": rng.random() < 0.3,
            "isPostOnly": rng.random() < 0.2,
        }
        units = [
            price
            for price, size in levels
            for _ in range(size)
            if asked["limit"] is None or step * price <= step * asked["limit"]
        ][: asked["amount"]]
        refused = asked["isPostOnly"] and bool(units)
        if refused or (asked["isWhole"] and len(units) < asked["amount"]):
            units = []
        left = 0 if refused else asked["amount"] - len(units)
        told = scripts.run(_PREVIEW, asked)
        assert (int(told["filled"]), int(told["cost"])) == (len(units), sum(units))
        rests, expires = (left, 0) if asked["mayRest"] else (0, left)
        assert (int(told["rests"]), int(told["expires"])) == (rests, expires)
        if units:
            worse = step * Fraction(sum(units) - units[0] * len(units), units[0] * len(units))
            assert abs(int(told["slippage"]) - worse * 10_000) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.000000000001", "0.000000000001"),
        ("9007.199254740991", "9,007.199254740991"),
        ("9007199254740991", "9,007,199,254,740,991"),
        ("0.00000000", "0"),
    ],
)
def test_extreme_amounts_are_written_out(scripts: Scripts, text: str, shown: str) -> None:
    code = """async (load, text) => {
      const { grouped, trimmed } = await load("decimal");
      return grouped(trimmed(text));
    }"""
    assert scripts.run(code, text) == shown
    units = scripts.call("decimal", "toBig", text, 12)
    assert int(units) == Decimal(text).scaleb(12)
    back = "async (load, n) => (await load('decimal')).fromUnits(BigInt(n), 12)"
    assert Decimal(scripts.run(back, units)) == Decimal(text)


def test_sums_beyond_53_bits_are_written_without_an_exponent(scripts: Scripts) -> None:
    assert scripts.call("decimal", "fromUnits", 2**70, 8) == f"{Decimal(2**70).scaleb(-8):f}"
    short = scripts.call("decimal", "short", "0.000000000001", 3)
    assert short == "<0.0000001"
    assert scripts.call("decimal", "short", "90071992547.40991") == "90071992547"


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Auckland"])
def test_times_are_those_of_the_zone(zone: str) -> None:
    rng = random.Random(zone)
    with running_scripts(zone) as scripts:
        for is_utc in (True, False):
            where = UTC if is_utc else ZoneInfo(zone)
            for _ in range(30):
                ms = rng.randrange(0, 4_000_000_000) * 1000
                at = datetime.fromtimestamp(ms / 1000, where)
                told = scripts.call("times", "dateAndClock", ms, is_utc)
                assert told == at.strftime("%Y-%m-%d %H:%M:%S")
                field = at.strftime("%Y-%m-%dT%H:%M")
                minute = scripts.call("times", "msOf", field, is_utc)
                assert scripts.call("times", "dateAndClock", minute, is_utc)[:16] == told[:16]


def test_a_time_has_its_day_only_when_it_is_needed(scripts: Scripts) -> None:
    now = int(datetime(2026, 11, 27, 8, 20, 40, tzinfo=UTC).timestamp() * 1000)
    day = 86_400_000
    told = [scripts.call("times", "dayAndClock", now - n * day, now, True) for n in (0, 1, 365)]
    assert told == ["08:20:40", "11-26 08:20:40", "2025-11-27 08:20"]


def test_a_csv_file_reads_back_and_runs_no_formula(scripts: Scripts) -> None:
    rows = [["a,b", 'say "no"', "line\nbreak", 5], ["=1+1", "-1.5", "-x", "@x"]]
    text = scripts.call("csv", "csvOf", ["A", "B", "C", "D"], rows)
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read[1] == ["a,b", 'say "no"', "line\nbreak", "5"]
    assert read[2] == ["'=1+1", "-1.5", "'-x", "'@x"]


def test_money_is_rounded_to_cents_unless_nothing_is_left(scripts: Scripts) -> None:
    code = """async (load, text) => {
      const { divided, fromUnits, toBig } = await load("decimal");
      return fromUnits(divided(toBig(text, 8), 10n ** 6n), 2);
    }"""
    for text in ("1.005", "28094.351103", "0.00499999", "336604.745"):
        cents = Decimal(text).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert Decimal(scripts.run(code, text)) == cents


_FILLS = """async (load, open, message) => {
  const { newFills } = await load("lifecycle");
  const known = { open: new Map(open.map((order) => [order.id, order])), ended: new Map() };
  return newFills(known, message).map(({ order, fills }) => [order.id, fills.length]);
}"""


def test_only_fills_of_orders_that_were_open_are_news(scripts: Scripts) -> None:
    fill = {"price": "1", "quantity": "1"}
    open_ = [
        {"id": "1-1", "status": "open", "fills": []},
        {"id": "1-2", "status": "partly_filled", "fills": [fill]},
        {"id": "1-3", "status": "pending", "fills": []},
    ]
    message = {
        "type": "delta",
        "orders": [
            {"id": "1-1", "status": "filled", "fills": [fill, fill]},
            {"id": "1-2", "status": "partly_filled", "fills": [fill]},
            {"id": "1-3", "status": "filled", "fills": [fill]},
            {"id": "1-4", "status": "filled", "fills": [fill]},
        ],
    }
    assert scripts.run(_FILLS, open_, message) == [["1-1", 2]]
