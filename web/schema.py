"""What the outside may ask for, checked and turned into the engine's commands.

Owns the input: its names, its limits, and the words when it is wrong. Amounts are decimal strings
or JSON numbers, and never pass through a float. Pure.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from engine.orders import (
    Cancel,
    CancelAll,
    Command,
    OrderType,
    Reduce,
    Replace,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
)
from peer.api import parse_id
from web.candles import CANDLES_MAX
from web.config import BATCH_MAX, TEXT_MAX, TRADES_MAX
from web.mirror import DEPTH_MAX
from web.orders import OrderView
from web.problems import Problem
from web.units import AmountError, Step, Units, parse_amount

Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
# An account is part of a feed topic, whose names end at a zero byte.
Account = Annotated[str, msgspec.Meta(max_length=TEXT_MAX, pattern=r"^[A-Za-z0-9_.@:+\-]*$")]
MarketName = Annotated[str, msgspec.Meta(description="The first market without it.")]
Depth = Annotated[int, msgspec.Meta(ge=1, le=DEPTH_MAX, description="Levels a side.")]
Interval = Annotated[
    Literal[1, 5, 15, 60, 300, 900, 3600, 14400, 86400], msgspec.Meta(description="Seconds.")
]
Amount = Annotated[Decimal, msgspec.Meta(description="A number or its text.")]
ACCOUNT_WORDS = "must be up to 64 letters, digits and . _ - + : @"
SideName = Literal["buy", "sell"]
TypeName = Literal["limit", "market", "stop", "stop_limit"]
TifName = Literal["gtc", "ioc", "fok", "gtd"]
SelfTradeName = Literal["none", "cancel_resting", "cancel_incoming", "cancel_both", "decrement"]

UnitsOf = Callable[[str], Units]


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order as a person writes it."""

    side: SideName
    quantity: Amount
    type: TypeName = "limit"
    price: Amount | None = None
    market: Text = ""
    account: Account = ""
    tif: TifName | None = None
    post_only: bool = False
    stop_price: Amount | None = None
    display: Amount | None = None
    self_trade: SelfTradeName = "none"
    expire: str | int | None = None
    client_id: Text = ""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new price or open quantity of an order. Less of it alone keeps its place in the queue."""

    price: Amount | None = None
    quantity: Amount | None = None
    account: Account = ""


class Withdrawal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which orders to cancel: all of an account, or those of one market or one side."""

    account: Account = ""
    market: Text = ""
    side: SideName | None = None


class CancelCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order to cancel, over Grenache."""

    order: Text
    account: Account = ""


class StateQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    market: MarketName = ""
    depth: Depth = DEPTH_MAX


class BookQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    market: MarketName = ""
    depth: Depth = 100
    group: Annotated[str, msgspec.Meta(description="Levels are merged into steps of it.")] = ""
    peers: Annotated[
        Literal[0, 1], msgspec.Meta(description="1: with what each peer has taken of a level.")
    ] = 0


class TradesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    market: MarketName = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=TRADES_MAX)] = 100
    before: Annotated[int, msgspec.Meta(ge=1, le=2**53, description="Lower numbers only.")] = 2**53


class OfMarket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    market: MarketName = ""


class CandlesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    market: MarketName = ""
    interval: Interval = 60
    limit: Annotated[int, msgspec.Meta(ge=1, le=CANDLES_MAX)] = 500
    before: Annotated[
        int, msgspec.Meta(ge=1, le=2**53, description="Only those that began earlier.")
    ] = 2**53


class OfAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: Account = ""


class NewOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sent whole or not at all."""

    orders: Annotated[list[NewOrder], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


T = TypeVar("T", bound=msgspec.Struct)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_AMOUNTS = frozenset({"price", "quantity", "stop_price", "display"})
_CHOICES: dict[object, Any] = {
    "side": SideName,
    "type": TypeName,
    "tif": TifName,
    "self_trade": SelfTradeName,
}


def parse_json(body: bytes | str) -> Any:
    """JSON with exact numbers."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"This is not JSON: {error}", "not_json") from None


def parse(kind: type[T], data: object) -> T:
    """`data` as a `kind`; Problem names the field and what it must be."""
    if not isinstance(data, dict):
        raise Problem(400, 'A JSON object such as {"side": "buy", …} was expected.', "not_object")
    plain = {key: _plain(key, value) for key, value in data.items() if value is not None}
    fields = {field.name: field.required for field in msgspec.structs.fields(kind)}
    for name, required in fields.items():
        if required and name not in plain:
            raise _wrong(name, "is needed")
    for key in plain:
        if key not in fields:
            raise Problem(
                400, f"There is no {key:.40}; there is {', '.join(fields)}.", "unknown_field", key
            )
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.strip("`.")
        if field == "account":
            text = ACCOUNT_WORDS
        words = f"{field}: {text}." if field else f"{text}."
        raise Problem(400, words, "invalid", field) from None


def query(kind: type[T], arguments: Mapping[str, str]) -> T:
    """The parameters of a query as a `kind`; others are none of our business."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    given = {name: arguments[name] for name in names if name in arguments}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).partition(" - at `$.")[2].strip("`")
        raise Problem(400, f"{field} {_wanted(kind, field)}.", f"invalid_{field}", field) from None


def _wanted(kind: type[msgspec.Struct], name: str) -> str:
    """What a parameter must be, from its type."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    (found,) = (field.type for field in info.fields if field.name == name)
    if isinstance(found, msgspec.inspect.Metadata):
        found = found.type
    if isinstance(found, msgspec.inspect.IntType):
        return f"must be {found.ge} to {found.le}"
    if isinstance(found, msgspec.inspect.LiteralType):
        return f"must be one of {', '.join(map(str, found.values))}"
    return ACCOUNT_WORDS if name == "account" else "is too long"


def _amount(field: str, value: object) -> Decimal:
    try:
        return parse_amount(value)
    except AmountError as error:
        raise _wrong(field, str(error)) from None


def _plain(key: object, value: object) -> object:
    """`value` as its field wants it; the words of a mistake are ours, not the decoder's."""
    if key in _AMOUNTS:
        return _amount(str(key), value)
    choices = get_args(_CHOICES.get(key))
    if choices:
        value = value.strip().lower() if isinstance(value, str) else value
        if value not in choices:
            raise _wrong(str(key), f"must be {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def _wrong(field: str, text: str) -> Problem:
    label = field.replace("_", " ").capitalize()
    return Problem(400, f"{label} {text}.", f"invalid_{field}", field)


def _count(field: str, amount: Decimal, step: Step, least: int = 1) -> int:
    try:
        count = step.count(amount)
    except AmountError as error:
        raise _wrong(field, str(error)) from None
    if count < least:
        raise _wrong(field, f"must be at least {step.text(least)}")
    return count


def submit_of(order: NewOrder, units: Units, account: str) -> Submit:
    """The engine's command, with id 0: the node gives the id."""
    kind = OrderType[order.type.upper()]
    market = units.market
    priced = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    stopped = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    price = _price("price", order.price, units, priced, order.type)
    stop_price = _price("stop_price", order.stop_price, units, stopped, order.type)
    quantity = _count("quantity", order.quantity, units.quantity, market.quantity_min)
    if quantity > market.quantity_max:
        raise _wrong("quantity", f"must be at most {units.quantity.text(market.quantity_max)}")
    display = 0 if order.display is None else _count("display", order.display, units.quantity)
    if display > quantity:
        raise _wrong("display", "must be at most the quantity")
    tif = TimeInForce[order.tif.upper()] if order.tif else TimeInForce.GTC
    if order.post_only and (not priced or tif in (TimeInForce.IOC, TimeInForce.FOK)):
        raise _wrong("post_only", "needs an order that may rest: limit, GTC or GTD")
    return Submit(
        id=0,
        account=order.account or account,
        market=market.symbol,
        side=Side[order.side.upper()],
        quantity=quantity,
        price=price,
        type=kind,
        tif=tif,
        post_only=order.post_only,
        stop_price=stop_price,
        display=display,
        self_trade=SelfTrade[order.self_trade.upper()],
        expire_ms=_expiry(order.expire, tif),
        client_id=order.client_id,
    )


def _price(field: str, value: Decimal | None, units: Units, wanted: bool, kind: str) -> int:
    label = kind.replace("_", " ")
    if not wanted:
        if value is not None:
            raise _wrong(field, f"does not go with a {label} order")
        return 0
    if value is None:
        raise _wrong(field, f"is needed for a {label} order")
    price = _count(field, value, units.price)
    if price > units.market.price_max:
        raise _wrong(field, f"must be at most {units.price.text(units.market.price_max)}")
    return price


def _expiry(value: str | int | None, tif: TimeInForce) -> int:
    """Milliseconds since the Unix epoch, from those or from RFC 3339 text."""
    if (value is not None) != (tif == TimeInForce.GTD):
        raise _wrong("expire", "goes with the time in force gtd, and only with it")
    if isinstance(value, str) and not value.isdecimal():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise _wrong("expire", "must be a time with its zone, such as 2030-01-01T00:00:00Z")
        return int(moment.timestamp() * 1000)
    number = int(str(value or 0)[:TEXT_MAX])  # a text of thousands of digits is no number to Python
    if not 0 <= number < 2**53:
        raise _wrong("expire", "must be milliseconds since 1970")
    return number


def group_of(text: str, units: Units) -> int:
    """Ticks that levels are merged into, from the price step `text`; one tick if it is empty."""
    return _count("group", _amount("group", text), units.price) if text else 1


def interval_of(value: object) -> int:
    """The seconds of a candle that `value` names; a minute if it is empty."""
    return query(CandlesQuery, {"interval": str(value)} if value else {}).interval


def order_id(text: object) -> int:
    try:
        return parse_id(str(text))
    except ValueError as error:
        raise Problem(400, f"{error}", "invalid_id", "id") from None


def account_of(value: object, default: str) -> str:
    """The account a request names, `default` if it names none."""
    try:
        return msgspec.convert(value or "", Account) or default
    except msgspec.ValidationError:
        raise _wrong("account", ACCOUNT_WORDS) from None


def cancel_of(text: object, account: str) -> Cancel:
    return Cancel(0, account, order_id(text))


def cancel_all_of(wish: Withdrawal, account: str) -> CancelAll:
    side = Side[wish.side.upper()] if wish.side else None
    return CancelAll(0, wish.account or account, wish.market, side)


def change_of(change: Change, order: OrderView, units: Units) -> Command:
    """A `Reduce` where that is enough, for it keeps its place in the queue; else a `Replace`."""
    if change.price is None and change.quantity is None:
        raise _wrong("quantity", "or price is needed")
    price = 0 if change.price is None else _count("price", change.price, units.price)
    quantity = 0
    if change.quantity is not None:
        quantity = _count("quantity", change.quantity, units.quantity)
    if price in (0, order.price) and 0 < quantity < order.remaining:
        return Reduce(0, order.account, order.id, quantity)
    return Replace(0, order.account, order.id, price, quantity)


def orders_of(data: object) -> list[object]:
    """The orders of a batch: `{"orders": [...]}`."""
    orders = data.get("orders") if isinstance(data, dict) and len(data) == 1 else None
    if not isinstance(orders, list) or not 1 <= len(orders) <= BATCH_MAX:
        text = f'{{"orders": [...]}} with 1 to {BATCH_MAX} orders was expected.'
        raise Problem(400, text, "invalid_orders", "orders")
    return orders
