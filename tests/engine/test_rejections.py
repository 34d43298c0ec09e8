"""Every reason for a rejection, and which one wins when several apply."""

from itertools import combinations
from typing import Any

import msgspec
import pytest

from engine import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    TIME_MS_MAX,
    Cancel,
    CancelAll,
    Command,
    Exchange,
    Halt,
    Market,
    OrderType,
    Reason,
    Reduce,
    Rejected,
    Replace,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
)

MARKET = Market(
    "X",
    "1",
    "1",
    quantity_min=3,
    quantity_max=90,
    price_max=1000,
    price_band_percent=10,
    orders_per_account_max=2,
    orders_max=4,
    iceberg_slices_max=10,
)

REASONS = list(Reason)

# What makes a good submit bad, for one reason each: fields to change, or a word for `market_where`.
SPOILT: dict[Reason, dict[str, Any] | str] = {
    Reason.UNKNOWN_MARKET: {"market": "Y"},
    Reason.INVALID_ID: {"id": 0},
    Reason.INVALID_ACCOUNT: {"account": ""},
    Reason.INVALID_CLIENT_ID: {"client_id": "c" * (CLIENT_ID_LENGTH_MAX + 1)},
    Reason.INVALID_SIDE: {"side": 2},
    Reason.INVALID_TYPE: {"type": 9},
    Reason.INVALID_QUANTITY: {"quantity": 0},
    Reason.INVALID_PRICE: {"price": 0},
    Reason.INVALID_STOP_PRICE: {"stop_price": 5},
    Reason.INVALID_DISPLAY: {"display": -1},
    Reason.INVALID_EXPIRY: {"expire_ms": 5},
    Reason.DUPLICATE_ID: {"id": 1},
    Reason.MARKET_HALTED: "halted",
    Reason.QUANTITY_TOO_SMALL: {"quantity": 2},
    Reason.QUANTITY_TOO_LARGE: {"quantity": 91},
    Reason.OUTSIDE_PRICE_BAND: {"price": 999},
    Reason.TOO_MANY_ORDERS: "many",
    Reason.BOOK_FULL: "full",
    Reason.WOULD_CROSS: {"price": 105, "post_only": True},
}


def submit(**fields: Any) -> Submit:
    good: dict[str, Any] = {
        "id": 50,
        "account": "ann",
        "market": "X",
        "side": Side.BUY,
        "quantity": 10,
        "price": 100,
    }
    return Submit(**{**good, **fields})


def market_where(*what: str) -> Exchange:
    """A market that has traded at 100, with orders 1, at 105, and 2."""
    exchange = Exchange([MARKET])
    exchange.advance(1000)
    exchange.apply(submit(id=3, account="eve", side=Side.SELL))
    exchange.apply(submit(id=4, account="eve"))
    exchange.apply(submit(id=1, account="bob", side=Side.SELL, price=105))
    exchange.apply(submit(id=2, account="bob" if "many" not in what else "ann", price=90))
    if "many" in what:
        exchange.apply(submit(id=5, price=90))
    if "full" in what:
        for id in (6, 7):
            exchange.apply(submit(id=id, account=f"c{id}", price=90))
    if "halted" in what:
        exchange.apply(Halt(8, "op", "X"))
    return exchange


def spoil(*reasons: Reason) -> tuple[Exchange, Submit]:
    words = [what for reason in reasons if isinstance(what := SPOILT[reason], str)]
    fields: dict[str, Any] = {}
    for reason in reversed(reasons):
        if isinstance(what := SPOILT[reason], dict):
            fields |= what
    return market_where(*words), submit(**fields)


def test_a_good_submit_is_accepted() -> None:
    exchange, command = spoil()
    (event,) = exchange.apply(command)
    assert type(event).__name__ == "Accepted"


@pytest.mark.parametrize("reason", SPOILT, ids=lambda reason: reason.name)
def test_one_reason_alone(reason: Reason) -> None:
    exchange, command = spoil(reason)
    before = exchange.digest()
    assert exchange.apply(command) == [Rejected(command.id, command.account, reason)]
    assert exchange.digest() == before
    assert exchange.check() is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pair
        for pair in combinations(SPOILT, 2)
        if not set(SPOILT[pair[0]]) & set(SPOILT[pair[1]])
        or isinstance(SPOILT[pair[0]], str)
        or isinstance(SPOILT[pair[1]], str)
    ],
    ids=lambda reason: reason.name,
)
def test_of_two_reasons_the_first_in_the_enumeration_wins(first: Reason, second: Reason) -> None:
    assert REASONS.index(first) < REASONS.index(second)
    exchange, command = spoil(first, second)
    assert exchange.apply(command) == [Rejected(command.id, command.account, first)]


LIMIT, MARKET_ORDER = OrderType.LIMIT, OrderType.MARKET
STOP, STOP_LIMIT = OrderType.STOP, OrderType.STOP_LIMIT
GTC, IOC, FOK, GTD = TimeInForce


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        (Reason.INVALID_ID, {"id": ID_MAX + 1}),
        (Reason.INVALID_ID, {"id": -(2**63)}),
        (Reason.INVALID_ACCOUNT, {"account": "a" * (ACCOUNT_LENGTH_MAX + 1)}),
        (Reason.INVALID_SIDE, {"side": 0}),  # a member of the enumeration, not its number
        (Reason.INVALID_TYPE, {"type": 4}),
        (Reason.INVALID_TYPE, {"tif": 4}),
        (Reason.INVALID_TYPE, {"self_trade": 5}),
        (Reason.INVALID_TYPE, {"post_only": True, "tif": IOC}),
        (Reason.INVALID_TYPE, {"post_only": True, "tif": FOK}),
        (Reason.INVALID_TYPE, {"post_only": True, "type": MARKET_ORDER, "price": 0}),
        (Reason.INVALID_TYPE, {"post_only": True, "type": STOP_LIMIT, "stop_price": 105}),
        (Reason.INVALID_TYPE, {"type": MARKET_ORDER, "price": 0, "tif": GTD, "expire_ms": 2000}),
        (Reason.INVALID_QUANTITY, {"quantity": -1}),
        (Reason.QUANTITY_TOO_LARGE, {"quantity": 2**64 - 1}),
        (Reason.INVALID_PRICE, {"price": 1001}),
        (Reason.INVALID_PRICE, {"price": -100}),
        (Reason.INVALID_PRICE, {"type": MARKET_ORDER}),
        (Reason.INVALID_PRICE, {"type": STOP, "stop_price": 105}),
        (Reason.INVALID_PRICE, {"type": STOP_LIMIT, "price": 0, "stop_price": 105}),
        (Reason.INVALID_STOP_PRICE, {"type": STOP_LIMIT}),
        (Reason.INVALID_STOP_PRICE, {"type": STOP, "price": 0, "stop_price": 1001}),
        (Reason.INVALID_DISPLAY, {"display": 11}),
        (Reason.INVALID_DISPLAY, {"display": 1, "quantity": 11}),
        (Reason.INVALID_DISPLAY, {"display": 5, "tif": IOC}),
        (Reason.INVALID_DISPLAY, {"display": 5, "tif": FOK}),
        (Reason.INVALID_DISPLAY, {"display": 5, "type": MARKET_ORDER, "price": 0}),
        (Reason.INVALID_DISPLAY, {"display": 5, "type": STOP, "price": 0, "stop_price": 105}),
        (Reason.INVALID_EXPIRY, {"tif": GTD}),
        (Reason.INVALID_EXPIRY, {"tif": GTD, "expire_ms": 1000}),
        (Reason.INVALID_EXPIRY, {"tif": GTD, "expire_ms": TIME_MS_MAX + 1}),
        (Reason.INVALID_EXPIRY, {"expire_ms": -1}),
        (Reason.OUTSIDE_PRICE_BAND, {"price": 89}),
        (Reason.OUTSIDE_PRICE_BAND, {"price": 111, "tif": IOC}),
        (Reason.OUTSIDE_PRICE_BAND, {"type": STOP_LIMIT, "price": 100, "stop_price": 90}),
    ],
)
def test_an_invalid_submit_is_rejected(reason: Reason, fields: dict[str, Any]) -> None:
    exchange, command = market_where(), submit(**fields)
    before = exchange.digest()
    assert exchange.apply(command) == [Rejected(command.id, command.account, reason)]
    assert exchange.digest() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"account": "a" * ACCOUNT_LENGTH_MAX, "client_id": "c" * CLIENT_ID_LENGTH_MAX},
        {"id": ID_MAX},
        {"quantity": 3},
        {"quantity": 90},
        {"price": 90},
        {"display": 10},
        {"display": 1},
        {"tif": GTD, "expire_ms": 1001},
        {"tif": GTD, "expire_ms": TIME_MS_MAX},
        {"type": STOP_LIMIT, "price": 1000, "stop_price": 1000},
        {"type": STOP, "price": 0, "stop_price": 1000, "tif": FOK},
        {"post_only": True, "price": 104},
    ],
)
def test_a_submit_at_the_limits_is_accepted(fields: dict[str, Any]) -> None:
    exchange = market_where()
    accepted = exchange.apply(submit(**fields))[0]
    assert type(accepted).__name__ == "Accepted"
    exchange.check()


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        (Reason.UNKNOWN_ORDER, Cancel(50, "bob", 999)),
        (Reason.UNKNOWN_ORDER, Cancel(50, "bob", -(2**63))),
        (Reason.UNKNOWN_ORDER, Cancel(50, "bob", 2**64 - 1)),
        (Reason.NOT_OWNER, Cancel(50, "ann", 1)),
        (Reason.UNKNOWN_MARKET, CancelAll(50, "ann", "Y")),
        (Reason.UNKNOWN_MARKET, CancelAll(50, "ann", "Y", 7)),  # type: ignore[arg-type]
        (Reason.INVALID_SIDE, CancelAll(50, "ann", "X", 7)),  # type: ignore[arg-type]
        (Reason.INVALID_QUANTITY, Reduce(50, "ann", 999, 0)),
        (Reason.INVALID_QUANTITY, Reduce(50, "ann", 1, -(2**63))),
        (Reason.UNKNOWN_ORDER, Reduce(50, "bob", 999, 2**64 - 1)),
        (Reason.NOT_OWNER, Reduce(50, "ann", 1, 1)),
        (Reason.QUANTITY_TOO_SMALL, Reduce(50, "bob", 1, 2)),
        (Reason.QUANTITY_TOO_LARGE, Reduce(50, "bob", 1, 91)),
        (Reason.NOT_SMALLER, Reduce(50, "bob", 1, 10)),
        (Reason.INVALID_QUANTITY, Replace(50, "ann", 999, -1, -1)),
        (Reason.INVALID_PRICE, Replace(50, "ann", 999, -1, 1)),
        (Reason.UNKNOWN_ORDER, Replace(50, "ann", 999, 1001, 1)),
        (Reason.INVALID_PRICE, Replace(50, "ann", 1, 1001, 1)),
        (Reason.NOT_OWNER, Replace(50, "ann", 1, 999, 1)),
        (Reason.QUANTITY_TOO_SMALL, Replace(50, "bob", 1, 999, 1)),
        (Reason.QUANTITY_TOO_LARGE, Replace(50, "bob", 1, 999, 91)),
        (Reason.OUTSIDE_PRICE_BAND, Replace(50, "bob", 1, 999)),
        (Reason.UNKNOWN_MARKET, Halt(50, "op", "Y")),
        (Reason.UNKNOWN_MARKET, Resume(50, "op", "Y")),
        (Reason.MARKET_NOT_HALTED, Resume(50, "op", "X")),
    ],
)
def test_other_commands(reason: Reason, command: Command) -> None:
    exchange = market_where()
    before = exchange.digest()
    assert exchange.apply(command) == [Rejected(50, command.account, reason)]
    assert exchange.digest() == before


def test_a_replace_in_a_halted_market() -> None:
    exchange = market_where("halted")
    for command, reason in (
        (Replace(50, "ann", 1, 999, 1), Reason.NOT_OWNER),
        (Replace(50, "bob", 1, 999, 1), Reason.MARKET_HALTED),
        (Halt(50, "op", "X"), Reason.MARKET_HALTED),
    ):
        assert exchange.apply(command) == [Rejected(50, command.account, reason)]


def test_every_reason_is_tested_here() -> None:
    changes = {Reason.UNKNOWN_ORDER, Reason.NOT_OWNER, Reason.NOT_SMALLER, Reason.MARKET_NOT_HALTED}
    of_keys = {reason for reason in Reason if reason >= Reason.NOT_SIGNED}  # see test_signed
    assert set(Reason) - of_keys == set(SPOILT) | changes


def test_every_decodable_command_gets_an_answer() -> None:
    """Integers of any size msgpack has, in every field, of every command."""
    decode = msgspec.msgpack.Decoder(Command).decode
    numbers = (-(2**63), -1, 0, 1, 2**53, 2**63 - 1, 2**64 - 1)
    exchange = market_where()
    tried = 0
    for sample in (
        submit(),
        submit(type=STOP_LIMIT, stop_price=105),
        submit(type=STOP, stop_price=105, price=0),
        submit(type=MARKET_ORDER, price=0, self_trade=SelfTrade.DECREMENT),
        Cancel(60, "bob", 1),
        Reduce(60, "bob", 1, 5),
        Replace(60, "bob", 1, 100, 5),
    ):
        for field in sample.__struct_fields__:
            for number in numbers:
                if type(getattr(sample, field)) is int:
                    command = decode(msgspec.msgpack.encode(replaced(sample, field, number)))
                    assert exchange.apply(command)
                    exchange.check()
                    tried += 1
    assert tried > 200


def replaced(command: Command, field: str, value: object) -> Command:
    changed: Command = msgspec.structs.replace(command, **{field: value})
    return changed
