"""The API's requests: checked, and turned into commands of the engine.

Owns the names and limits of the input, and the texts for invalid input. Amounts are decimal strings
or JSON numbers, and never pass through a float. Pure.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from engine import TIME_MS_MAX, Cancel, CancelAll, Command, Reduce, Replace, Side, Submit
from peer.client import order_input
from peer.client.accounts import FINISHED_MAX
from peer.client.order_input import ACCOUNT_WORDS, Account, SideName, Text
from peer.client.protocol import ACCOUNTS_MAX, DEPTH_MAX, ID_DIGITS_MAX, parse_id
from peer.client.queue_places import ORDERS_MAX
from peer.client.units import Units
from peer.replica.order_state import OrderView
from web.config import BATCH_MAX, NESTED_MAX, TOKEN_CHARACTERS_MAX, TRADES_MAX
from web.contract.problems import Problem
from web.market_data.candles import CANDLES_MAX

MarketName = Annotated[str, msgspec.Meta(description="The first market if missing.")]
Depth = Annotated[int, msgspec.Meta(ge=1, le=DEPTH_MAX, description="Levels a side.")]
Interval = Annotated[
    Literal[1, 5, 15, 60, 300, 900, 3600, 14400, 86400], msgspec.Meta(description="Seconds.")
]
QUEUE_CHARACTERS_MAX = ORDERS_MAX * 2 * (ID_DIGITS_MAX + 1)
TimeMs = Annotated[int, msgspec.Meta(ge=1, le=TIME_MS_MAX, description="Milliseconds since 1970.")]


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature by the account's own key over the command of this request. It replaces the API
    key."""

    nonce: TimeMs
    until: TimeMs
    signature: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{86}$")]


class NewOrder(order_input.NewOrder, frozen=True, forbid_unknown_fields=True):
    """A new order, in decimals."""

    signature: Signature | None = None


class Change(order_input.Change, frozen=True, forbid_unknown_fields=True):
    """A new price or open quantity for an order. Only a smaller quantity keeps the order's place in
    the queue. A signed change must name the order's market, unless it is the first one."""

    market: Text = ""
    signature: Signature | None = None


class WithdrawalQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The orders to cancel: all of an account, or those of one market or one side."""

    account: Account = ""
    market: Text = ""
    side: SideName | None = None


class Withdrawal(WithdrawalQuery, frozen=True, forbid_unknown_fields=True):
    signature: Signature | None = None


class Authority(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional body of a request to cancel."""

    signature: Signature | None = None


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement, signed by an account's key, that this peer may show the account's orders to this
    browser."""

    account: Account
    signature: Signature


class LinkToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a one-time link. It opens one session."""

    token: Annotated[str, msgspec.Meta(max_length=TOKEN_CHARACTERS_MAX)]


class CancelOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order to cancel."""

    order: Text
    account: Account = ""
    signature: Signature | None = None


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


class OrdersQuery(OfAccount, frozen=True, forbid_unknown_fields=True):
    """A page of finished orders."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=FINISHED_MAX)] = 100
    before: Annotated[Text, msgspec.Meta(description="Only those that ended before this one.")] = ""


class QueueQuery(OfAccount, frozen=True, forbid_unknown_fields=True):
    """Open orders of an account."""

    orders: Annotated[
        str,
        msgspec.Meta(
            max_length=QUEUE_CHARACTERS_MAX,
            description=f"Ids, separated by commas, at most {ORDERS_MAX}.",
        ),
    ] = ""


class AccountsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The accounts with most open orders."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=ACCOUNTS_MAX)] = 100


class NewOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of orders: all are sent, or none."""

    orders: Annotated[list[NewOrder], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


T = TypeVar("T", bound=msgspec.Struct)
NUMBER_CHARACTERS_MAX = 100  # of a JSON number with a point or an exponent
NAME_CHARACTERS_MAX = 64  # of a client's own id for a request
NAME_NUMBER_MAX = 2**53  # if that id is a number; negative numbers likewise


def _exact(text: str) -> Decimal:
    """A JSON number with a point or an exponent, exactly as written."""
    if len(text) <= NUMBER_CHARACTERS_MAX:
        with suppress(InvalidOperation):  # an exponent too large for a Decimal
            return Decimal(text)
    raise Problem(400, f"A number is too long or too large: {text:.40}", "invalid_number")


_decode = msgspec.json.Decoder(float_hook=_exact).decode
_NESTING = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[][{}]', re.DOTALL)  # a string or a bracket
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse_json(body: bytes | str) -> Any:
    """Parse JSON with exact numbers and a nesting depth of at most NESTED_MAX."""
    try:
        text = body if isinstance(body, str) else body.decode()
        if nesting(text) > NESTED_MAX:
            raise Problem(400, f"More than {NESTED_MAX} values inside each other.", "not_json")
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"This is not JSON: {error}", "not_json") from None


def nesting(text: str) -> int:
    """The nesting depth of objects and arrays in a JSON text; some number if it is not JSON."""
    deepest = depth = 0
    if text.count("[") + text.count("{") > NESTED_MAX:  # rarely
        for found in _NESTING.finditer(text):
            depth += _STEPS.get(found[0], 0)
            deepest = max(deepest, depth)
    return deepest


def parse(kind: type[T], data: object) -> T:
    """Convert `data` to `kind`. A Problem names the invalid field and what it must be."""
    if not isinstance(data, dict):
        raise Problem(400, 'A JSON object such as {"side": "buy", …} was expected.', "not_object")
    with _AS_PROBLEM:
        return order_input.read(kind, data)


class _AsProblem:
    """A block whose errors of input become Problems. Every order passes two: a generator would cost
    as much as what they do."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> None:
        if isinstance(error, order_input.UnknownFieldError):
            raise Problem(400, str(error), "unknown_field", error.field) from None
        if isinstance(error, order_input.InvalidInputError):
            raise _wrong(error.field, error.words) from None


_AS_PROBLEM = _AsProblem()


def query(kind: type[T], arguments: Mapping[str, str]) -> T:
    """Convert the parameters of a query to `kind`. Ignores unknown parameters."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    given = {name: arguments[name] for name in names if name in arguments}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).partition(" - at `$.")[2].strip("`")
        raise Problem(400, f"{field} {_wanted(kind, field)}.", f"invalid_{field}", field) from None


def _wanted(kind: type[msgspec.Struct], name: str) -> str:
    """What a parameter must be, according to its type."""
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


def _wrong(field: str, words: str) -> Problem:
    return Problem(400, str(order_input.InvalidInputError(field, words)), f"invalid_{field}", field)


def submit_of(order: NewOrder, units: Units, account: str) -> Submit:
    """As `order_input.submit_of`, but raises Problem."""
    with _AS_PROBLEM:
        return order_input.submit_of(order, units, account)


def change_of(change: Change, order: OrderView, units: Units) -> Command:
    """As `order_input.change_of`, but raises Problem."""
    with _AS_PROBLEM:
        return order_input.change_of(change, order, units)


def group_of(text: str, units: Units) -> int:
    """The ticks of a price step; one tick if `text` is empty."""
    if not text:
        return 1
    with _AS_PROBLEM:
        return order_input.price_of("group", order_input.amount("group", text), units)


def interval_of(value: object) -> int:
    """The seconds of a candle interval; a minute if `value` is empty."""
    text = value if isinstance(value, str) else f"{value}" if type(value) is int else "?"
    return query(CandlesQuery, {"interval": text} if value else {}).interval


def order_id(text: object) -> int:
    try:
        return parse_id(text if isinstance(text, str) else "")
    except ValueError as error:
        raise Problem(400, f"{error}", "invalid_id", "id") from None


def order_ids(text: str) -> list[int]:
    """The ids in a text, at most ORDERS_MAX."""
    ids = [order_id(each) for each in text.split(",")] if text else []
    if len(ids) > ORDERS_MAX:
        words = f"At most {ORDERS_MAX} orders, not {len(ids)}."
        raise Problem(400, words, "invalid_orders", "orders")
    return ids


def account_of(value: object, default: str) -> str:
    """The account that a request names, or `default`."""
    try:
        return msgspec.convert(value or "", Account) or default
    except msgspec.ValidationError:
        raise _wrong("account", ACCOUNT_WORDS) from None


def name_of(value: object) -> str | int | None:
    """A client's own id for a request, which the answers repeat."""
    if value is None or (isinstance(value, str) and len(value) <= NAME_CHARACTERS_MAX):
        return value
    if type(value) is int and abs(value) <= NAME_NUMBER_MAX:
        return value
    raise Problem(400, "The id is a whole number below 2**53 or a short text.", "invalid_id", "id")


def cancel_of(wanted: CancelOrder, account: str) -> Cancel:
    return Cancel(0, account, order_id(wanted.order))


def cancel_all_of(wanted: Withdrawal, account: str) -> CancelAll:
    side = Side[wanted.side.upper()] if wanted.side else None
    return CancelAll(0, account, wanted.market, side)


def signed_change_of(change: Change, account: str, text: object, units: Units) -> Command:
    """The command of a signed change: a `Reduce` without a price, else a `Replace`. It must not
    depend on the state of the order at this peer."""
    if change.price is None and change.quantity is None:
        raise _wrong("quantity", "or price is needed")
    number = order_id(text)
    with _AS_PROBLEM:
        quantity = 0
        if change.quantity is not None:
            quantity = order_input.quantity_of("quantity", change.quantity, units)
        if change.price is None:
            return Reduce(0, account, number, quantity)
        price = order_input.price_of("price", change.price, units)
        return Replace(0, account, number, price, quantity)


def orders_of(data: object) -> list[object]:
    """The orders of a batch, `{"orders": [...]}`, not yet checked."""
    orders = data.get("orders") if isinstance(data, dict) and len(data) == 1 else None
    if not isinstance(orders, list) or not 1 <= len(orders) <= BATCH_MAX:
        text = f'{{"orders": [...]}} with 1 to {BATCH_MAX} orders was expected.'
        raise Problem(400, text, "invalid_orders", "orders")
    return orders
