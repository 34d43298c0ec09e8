"""Orders, books and trades as the Python client returns them: immutable, in decimals and words.

Owns the types that `Client` returns, and the conversion from the node's integers. Pure. Amounts are
exact `Decimal`s, ids are text such as "2-17", times are milliseconds since 1970.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from engine import Side
from peer.client.protocol import Committed, State, format_id
from peer.client.protocol import Level as RawLevel
from peer.client.rejections import WORDS
from peer.client.units import Units
from peer.replica.order_state import FINAL, OrderView, Status
from peer.replica.trade import MarketTrade


class Fill(NamedTuple):
    price: Decimal
    quantity: Decimal
    maker: bool  # this order was resting
    time_ms: int
    number: int  # of the trade


class Level(NamedTuple):
    price: Decimal
    quantity: Decimal  # displayed
    orders: int


class Order(msgspec.Struct, frozen=True):
    """An order at one moment. `remaining` has not traded; it can trade while `status` is `open` or
    `partly_filled`. For an order that was open before, `filled` and `fills` are what the node
    knows: it counts from the last replacement."""

    id: str
    status: Status
    account: str
    market: str
    side: str  # buy or sell
    type: str  # limit, market, stop or stop_limit
    tif: str  # gtc, ioc, fok or gtd
    price: Decimal | None
    quantity: Decimal
    remaining: Decimal
    filled: Decimal
    fills: tuple[Fill, ...] = ()
    stop_price: Decimal | None = None
    display: Decimal | None = None
    expire_ms: int | None = None
    client_id: str = ""
    reason: str = ""  # of a rejection, such as `would_cross`
    detail: str = ""  # the same as a sentence

    @property
    def is_final(self) -> bool:
        """Whether the order can no longer change."""
        return self.status in FINAL


class Trade(msgspec.Struct, frozen=True):
    """A trade. `number` counts a market's trades from 1, the same on every peer."""

    market: str
    number: int
    time_ms: int
    price: Decimal
    quantity: Decimal
    side: str  # the taker's
    maker: str  # ids of the two orders
    taker: str


class Book(msgspec.Struct, frozen=True):
    """A market's book after a commit, best levels first. Two peers at the same `commit` have the
    same `digest`."""

    market: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    commit: int
    time_ms: int
    digest: str


def order_of(view: OrderView, units: Units) -> Order:
    price, quantity = units.price.amount, units.quantity.amount
    return Order(
        id=format_id(view.id),
        status=view.status,
        account=view.account,
        market=view.market,
        side=view.side.name.lower(),
        type=view.type.name.lower(),
        tif=view.tif.name.lower(),
        price=price(view.price) if view.price else None,
        quantity=quantity(view.quantity),
        remaining=quantity(view.remaining),
        filled=quantity(view.filled),
        fills=tuple(
            Fill(price(f.price), quantity(f.quantity), f.maker, f.time_ms, f.number)
            for f in view.fills
        ),
        stop_price=price(view.stop_price) if view.stop_price else None,
        display=quantity(view.display) if view.display else None,
        expire_ms=view.expire_ms or None,
        client_id=view.client_id,
        reason=view.reason.name.lower() if view.reason else "",
        detail=WORDS[view.reason] if view.reason else "",
    )


def trade_of(trade: MarketTrade, units: Units) -> Trade:
    return Trade(
        market=units.market.symbol,
        number=trade.number,
        time_ms=trade.time_ms,
        price=units.price.amount(trade.price),
        quantity=units.quantity.amount(trade.quantity),
        side=Side(trade.side).name.lower(),
        maker=format_id(trade.maker),
        taker=format_id(trade.taker),
    )


def book_of(
    at: State | Committed, bids: Iterable[RawLevel], asks: Iterable[RawLevel], units: Units
) -> Book:
    return Book(
        market=units.market.symbol,
        bids=_levels(bids, units),
        asks=_levels(asks, units),
        commit=at.commit,
        time_ms=at.time_ms,
        digest=at.digest.hex(),
    )


def _levels(levels: Iterable[RawLevel], units: Units) -> tuple[Level, ...]:
    price, quantity = units.price.amount, units.quantity.amount
    return tuple(Level(price(level[0]), quantity(level[1]), level[2]) for level in levels)
