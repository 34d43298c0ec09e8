"""The API's responses: each shape is declared once, as the struct that is encoded.

Owns the names and the order of the fields. `/openapi.json` is made from these structs, and routes
answer with nothing else. Responses about markets and the mesh are in `market_responses`. Amounts
are decimal text, ids are text such as "2-17", times are milliseconds since 1970. A field whose
default is UNSET may be missing. Pure.
"""

from typing import Annotated, Any, Self

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

import engine
from engine import OrderType, Side, TimeInForce
from peer.client.order_input import SideName, TifName, TypeName
from peer.client.protocol import format_id
from peer.client.rejections import WORDS
from peer.client.units import Units
from peer.replica.order_state import OrderView

Json = dict[str, Any]
Amount = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$", description="A decimal number as text.")]
Call = Annotated[list[Any], Meta(min_length=3, max_length=3)]
TimeMs = Annotated[int, Meta(description="Milliseconds since 1970.")]
_MEMBER = "([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-6])"
Id = Annotated[
    str, Meta(pattern=f"^{_MEMBER}-[0-9]{{1,13}}$", description="Member and its count: 2-17.")
]

SIDES: dict[Side, SideName] = {Side.BUY: "buy", Side.SELL: "sell"}
TYPES: dict[OrderType, Any] = {kind: kind.name.lower() for kind in OrderType}
TIFS: dict[TimeInForce, Any] = {tif: tif.name.lower() for tif in TimeInForce}
# A client that does not own an order learns nothing about it, not even that it exists.
_TOLD = {engine.Reason.NOT_OWNER: engine.Reason.UNKNOWN_ORDER}


def explain(reason: engine.Reason) -> tuple[str, str]:
    """Why the market rejected a command: a code and a sentence."""
    reason = _TOLD.get(reason, reason)
    return reason.name.lower(), WORDS[reason]


class Reply(Struct, frozen=True, forbid_unknown_fields=True):
    """A response with exactly the declared fields."""


def fields_of(view: Reply) -> Json:
    """The fields that are set, to be merged into a message."""
    return {name: value for name, value in asdict(view).items() if value is not UNSET}


def copied(source: object, kind: type[Reply]) -> Json:
    """The values in `source` for those fields of `kind` that it has."""
    names = kind.__struct_fields__
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


# Orders


class Fill(Reply, frozen=True):
    """One trade of an order. `trade` is its number in the market, as in `/trades`; it is missing if
    this peer no longer has the trade."""

    price: Amount
    quantity: Amount
    maker: bool
    time: TimeMs
    trade: int | UnsetType = UNSET


class Order(Reply, frozen=True):
    """An order. Amounts are missing only if its market does not exist."""

    id: Id
    account: str
    market: str
    side: SideName
    type: TypeName
    tif: TifName
    status: str
    client_id: str
    time: TimeMs
    fills: list[Fill]
    price: Amount | UnsetType | None = UNSET
    quantity: Amount | UnsetType = UNSET
    remaining: Amount | UnsetType = UNSET
    filled: Amount | UnsetType = UNSET
    stop_price: Amount | UnsetType = UNSET
    triggered: bool | UnsetType = UNSET
    display: Amount | UnsetType = UNSET
    expire: TimeMs | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    commit: int | UnsetType = UNSET

    @classmethod
    def of(cls, order: OrderView, units: Units | None) -> Self:
        more = _amounts(order, units) if units is not None else {"fills": []}
        if order.reason is not None:
            more["reason"], more["detail"] = explain(order.reason)
        return cls(
            id=format_id(order.id),
            account=order.account,
            market=order.market,
            side=SIDES[order.side],
            type=TYPES[order.type],
            tif=TIFS[order.tif],
            status=order.status,
            client_id=order.client_id,
            time=order.time_ms,
            expire=order.expire_ms or UNSET,
            **more,
        )


def _amounts(order: OrderView, units: Units) -> Json:
    price, quantity = units.price.text, units.quantity.text
    fills = [
        Fill(
            price(fill.price),
            quantity(fill.quantity),
            fill.maker,
            fill.time_ms,
            fill.number or UNSET,
        )
        for fill in order.fills
    ]
    return {
        "fills": fills,
        "price": price(order.price) if order.price else None,
        "quantity": quantity(order.quantity),
        "remaining": quantity(order.remaining),
        "filled": quantity(order.filled),
        "stop_price": price(order.stop_price) if order.stop_price else UNSET,
        "triggered": order.triggered if order.stop_price else UNSET,
        "display": quantity(order.display) if order.display else UNSET,
    }


class Orders(Reply, frozen=True):
    """An account's orders. `finished` is complete from `since` on; null if that time is unknown."""

    account: str
    orders: list[Order]
    finished: list[Order]
    since: TimeMs | None


class Place(Reply, frozen=True):
    """What stands before an open order at its price. `complete`: it is all; else there is more."""

    id: Id
    market: str
    quantity: Amount
    orders: int
    complete: bool


class Queue(Reply, frozen=True):
    """The places in their queues of those orders that are in a book, after `commit`."""

    account: str
    commit: int
    places: list[Place]


class Batch(Reply, frozen=True):
    results: list[Order]


class Cancelled(Reply, frozen=True):
    id: Id
    status: str
    cancelled: list[Id]
    commit: int
    time: TimeMs


class Pending(Reply, frozen=True):
    """Not ordered yet; `GET /orders` shows the result later."""

    id: Id
    status: str


class Rejected(Reply, frozen=True):
    """A rejected change, over the WebSocket; over HTTP it is a Problem."""

    id: Id
    status: str
    reason: str
    detail: str
    commit: int
    time: TimeMs


class Withdrawn(Reply, frozen=True):
    """Withdrawn before any other peer saw it."""

    id: Id
    status: str
    detail: str


Result = Order | Cancelled | Pending | Rejected | Withdrawn

# Accounts and sessions


class Session(Reply, frozen=True):
    account: str | None
    scopes: list[str]
    reads: str | UnsetType = UNSET


class Account(Reply, frozen=True):
    """The open orders of an account, from all peers."""

    account: str
    orders: int
    is_key: bool
    barred: bool


class Accounts(Reply, frozen=True):
    accounts: list[Account]
    barred: list[str]


class Barred(Reply, frozen=True):
    account: str
    barred: bool


class Health(Reply, frozen=True):
    status: str


class Reason(Struct, frozen=True):
    """A reason why this peer is not ready."""

    code: str
    detail: str


class Problem(Struct, frozen=True):
    """RFC 9457. `field` is the invalid part of the request; /readyz sets `reasons`."""

    type: str
    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    reasons: list[Reason] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    ids: list[str] | UnsetType = UNSET
    commit: int | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET
    index: int | UnsetType = UNSET
