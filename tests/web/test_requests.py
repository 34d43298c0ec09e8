"""Decimals in and out, and the conversion of input to commands."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Market, OrderType, SelfTrade, Side, Submit, TimeInForce
from peer.client.units import AmountError, Step, parse_amount, units_of
from web.contract import requests
from web.contract.problems import Problem

UNITS = units_of(Market("BTC-USD", "0.25", "0.001", quantity_min=5, quantity_max=10_000))
STEPS = st.sampled_from(["0.01", "0.25", "1", "10", "0.00000001", "0.5", "25", "1e2"])


@given(STEPS, st.integers(0, 2**53))
def test_a_count_survives_its_text(text: str, count: int) -> None:
    step = Step(text)
    shown = step.text(count)
    assert Decimal(shown) == count * Decimal(text)
    assert step.count(parse_amount(shown)) == count


def test_zero_is_a_plain_zero() -> None:
    assert str(Step("0.00000001").amount(0)) == "0", "and not 0E-8"


@given(st.text(max_size=30) | st.floats().map(repr) | st.decimals().map(str))
def test_any_text_is_an_amount_or_an_error(text: str) -> None:
    try:
        amount = parse_amount(text)
    except AmountError:
        return
    assert amount.is_finite()
    assert amount >= 0


@given(st.decimals() | st.integers())
def test_any_number_is_an_amount_or_an_error(number: Decimal | int) -> None:
    try:
        amount = parse_amount(number)
    except AmountError:
        return
    assert amount == number
    assert len(f"{amount:f}") < 80, "an exponent must not become a long text"


@pytest.mark.parametrize(
    "value", [True, None, 1.5, [], "1e5", "\u0661", "+1", "-1", "", ".", "1_0"]
)
def test_invalid_amounts_are_refused(value: object) -> None:
    with pytest.raises(AmountError):
        parse_amount(value)


def _submit(**fields: object) -> Submit:
    order = requests.parse(requests.NewOrder, {"side": "buy", "quantity": "1", **fields})
    return requests.submit_of(order, UNITS, "someone")


def test_every_field_reaches_the_engine() -> None:
    assert _submit(
        side="SELL",
        type="stop_limit",
        price="100.25",
        stop_price=99,
        quantity=Decimal("2.5"),
        tif="gtd",
        expire="2030-01-01T00:00:00Z",
        display="0.5",
        self_trade="cancel_both",
        account="me",
        client_id="mine",
    ) == Submit(
        id=0,
        account="me",
        market="BTC-USD",
        side=Side.SELL,
        quantity=2500,
        price=401,
        type=OrderType.STOP_LIMIT,
        tif=TimeInForce.GTD,
        stop_price=396,
        display=500,
        self_trade=SelfTrade.CANCEL_BOTH,
        expire_ms=1_893_456_000_000,
        client_id="mine",
    )


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"price": "100.1"}, "price", "Price must be a multiple of 0.25, not 100.1."),
        ({"price": "0"}, "price", "Price must be at least 0.25."),
        ({"price": "9" * 20}, "price", "at most"),
        ({}, "price", "Price is needed for a limit order."),
        ({"price": "1", "quantity": "0.004"}, "quantity", "at least 0.005"),
        ({"price": "1", "quantity": "11"}, "quantity", "at most 10.000"),
        ({"type": "market", "price": "1"}, "price", "does not go with a market order"),
        ({"type": "stop"}, "stop_price", "is needed"),
        ({"price": "1", "stop_price": "1"}, "stop_price", "does not go with"),
        ({"price": "1", "display": "2"}, "display", "at most the quantity"),
        ({"price": "1", "tif": "gtd"}, "expire", "goes with the time in force gtd"),
        ({"price": "1", "expire": 5}, "expire", "goes with the time in force gtd"),
        ({"price": "1", "tif": "gtd", "expire": "soon"}, "expire", "must be a time"),
        ({"price": "1", "tif": "gtd", "expire": "2030-01-01"}, "expire", "with its zone"),
        ({"price": "1", "tif": "gtd", "expire": "9" * 5_000}, "expire", "must be a time"),
        ({"price": "1", "tif": "ioc", "post_only": True}, "post_only", "may rest"),
        ({"price": "1", "post_only": "yes"}, "post_only", "bool"),
        ({"price": "1", "account": "no spaces"}, "account", "letters"),
        ({"price": "1", "colour": "red"}, "colour", "There is no colour"),
    ],
)
def test_an_error_names_its_field(fields: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(Problem) as caught:
        _submit(**fields)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert words in caught.value.detail


def test_json_numbers_are_exact() -> None:
    parsed = requests.parse_json(b'{"price": 0.1, "big": 12345678901234567890.1}')
    assert parsed == {"price": Decimal("0.1"), "big": Decimal("12345678901234567890.1")}


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_problem(data: bytes) -> None:
    try:
        requests.parse(requests.NewOrder, requests.parse_json(data))
    except Problem:
        return
