"""An order in decimals and words, as people write it: checked, and turned into a command.

Owns the fields of an order, their limits and the texts for invalid ones: the same for a local
program and for a client over HTTP. Amounts never pass through a float. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from engine import (
    ACCOUNT_LENGTH_MAX,
    Command,
    OrderType,
    Reduce,
    Replace,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
)
from peer.client.units import AmountError, Step, Units, parse_amount
from peer.replica.order_state import OrderView

Text = Annotated[str, msgspec.Meta(max_length=ACCOUNT_LENGTH_MAX)]
# An account's name is used in URLs, topics and log lines.
Account = Annotated[
    str, msgspec.Meta(max_length=ACCOUNT_LENGTH_MAX, pattern=r"^[A-Za-z0-9_.@:+\-]*$")
]
ACCOUNT_WORDS = f"must be up to {ACCOUNT_LENGTH_MAX} letters, digits and . _ - + : @"
Amount = Annotated[Decimal, msgspec.Meta(description="A number or its text.")]
SideName = Literal["buy", "sell"]
TypeName = Literal["limit", "market", "stop", "stop_limit"]
TifName = Literal["gtc", "ioc", "fok", "gtd"]
SelfTradeName = Literal["none", "cancel_resting", "cancel_incoming", "cancel_both", "decrement"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidInputError(ValueError):
    """`field` is the invalid field, `words` say what it must be."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field.replace('_', ' ').capitalize()} {words}.")
        self.field = field
        self.words = words


class UnknownFieldError(InvalidInputError):
    def __init__(self, field: str, known: Sequence[str]) -> None:
        super().__init__(field, "")
        self.args = (f"There is no {field:.40}; there is {', '.join(known)}.",)


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new order, in decimals."""

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
    """A new price or open quantity for an order. Only a smaller quantity keeps its place in the
    queue."""

    price: Amount | None = None
    quantity: Amount | None = None
    account: Account = ""


T = TypeVar("T", bound=msgspec.Struct)
_AMOUNTS = frozenset({"price", "quantity", "stop_price", "display"})
_CHOICES: dict[str, tuple[str, ...]] = {
    "side": get_args(SideName),
    "type": get_args(TypeName),
    "tif": get_args(TifName),
    "self_trade": get_args(SelfTradeName),
}
FIELDS_MAX = 100  # kinds of requests whose fields are known


def read(kind: type[T], fields: Mapping[str, object]) -> T:
    """Convert `fields`, without those that are None, to `kind`. InvalidInputError names the first
    invalid field. UnknownFieldError."""
    known = _fields(kind)
    for key in fields:
        if key not in known:
            raise UnknownFieldError(key, list(known))
    plain = {key: _plain(key, value) for key, value in fields.items() if value is not None}
    for name, required in known.items():
        if required and name not in plain:
            raise InvalidInputError(name, "is needed")
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        words, _, path = str(error).partition(" - at `$")
        field = path.strip("`.")
        words = ACCOUNT_WORDS if field == "account" else f"is wrong: {words.lower()}"
        raise InvalidInputError(field, words) from None


@lru_cache(FIELDS_MAX)
def _fields(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """The fields of `kind`, and whether each is needed. To ask msgspec takes longer than to read
    an order."""
    return {field.name: field.required for field in msgspec.structs.fields(kind)}


def _plain(field: str, value: object) -> object:
    """`value` in the type of its field. Errors have our words, not the decoder's."""
    if field in _AMOUNTS:
        return amount(field, value)
    if choices := _CHOICES.get(field):
        value = value.strip().lower() if isinstance(value, str) else value
        if value not in choices:
            raise InvalidInputError(field, f"must be {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def amount(field: str, value: object) -> Decimal:
    try:
        return parse_amount(value)
    except AmountError as error:
        raise InvalidInputError(field, str(error)) from None


def count(field: str, value: Decimal, step: Step, most: int, least: int = 1) -> int:
    """The number of ticks or lots in an amount, from `least` to `most`. This is the only way from
    an amount to a number, so every number is bounded here."""
    try:
        found = step.count(value)
    except AmountError as error:
        raise InvalidInputError(field, str(error)) from None
    if found < least:
        raise InvalidInputError(field, f"must be at least {step.text(least)}")
    if found > most:
        raise InvalidInputError(field, f"must be at most {step.text(most)}")
    return found


def price_of(field: str, value: Decimal, units: Units) -> int:
    return count(field, value, units.price, units.market.price_max)


def quantity_of(field: str, value: Decimal, units: Units, least: int = 1) -> int:
    return count(field, value, units.quantity, units.market.quantity_max, least)


def submit_of(order: NewOrder, units: Units, account: str) -> Submit:
    """The engine's command, with id 0: the node assigns the id."""
    kind = OrderType[order.type.upper()]
    market = units.market
    priced = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    stopped = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    price = _price("price", order.price, units, priced, order.type)
    stop_price = _price("stop_price", order.stop_price, units, stopped, order.type)
    quantity = quantity_of("quantity", order.quantity, units, market.quantity_min)
    display = 0 if order.display is None else quantity_of("display", order.display, units)
    if display > quantity:
        raise InvalidInputError("display", "must be at most the quantity")
    tif = TimeInForce[order.tif.upper()] if order.tif else TimeInForce.GTC
    if order.post_only and (not priced or tif in (TimeInForce.IOC, TimeInForce.FOK)):
        raise InvalidInputError("post_only", "needs an order that may rest: limit, GTC or GTD")
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
            raise InvalidInputError(field, f"does not go with a {label} order")
        return 0
    if value is None:
        raise InvalidInputError(field, f"is needed for a {label} order")
    return price_of(field, value, units)


def _expiry(value: str | int | None, tif: TimeInForce) -> int:
    """Milliseconds since the Unix epoch, from a number or from RFC 3339 text."""
    if (value is not None) != (tif == TimeInForce.GTD):
        raise InvalidInputError("expire", "goes with the time in force gtd, and only with it")
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 16):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            words = "must be a time with its zone, such as 2030-01-01T00:00:00Z"
            raise InvalidInputError("expire", words)
        value = (moment - _EPOCH) // timedelta(milliseconds=1)
    number = int(value or 0)
    if not 0 <= number < 2**53:
        raise InvalidInputError("expire", "must be a time after 1970, in milliseconds or as text")
    return number


def change_of(change: Change, order: OrderView, units: Units) -> Command:
    """A `Reduce` if that is enough, since it keeps the place in the queue; else a `Replace`."""
    if change.price is None and change.quantity is None:
        raise InvalidInputError("quantity", "or price is needed")
    price = 0 if change.price is None else price_of("price", change.price, units)
    quantity = 0
    if change.quantity is not None:
        quantity = quantity_of("quantity", change.quantity, units)
    if price in (0, order.price) and 0 < quantity < order.remaining:
        return Reduce(0, order.account, order.id, quantity)
    return Replace(0, order.account, order.id, price, quantity)
