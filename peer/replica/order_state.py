"""The life of one order, from the engine's events.

Owns the one function from events to the status a client sees: pending, open, partly filled, filled,
cancelled, expired or rejected. Everything that shows an order (the answer to a request, the list of
my orders, the history) uses it. Pure: must never do I/O or read a clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

from engine import (
    Accepted,
    Cancel,
    Cancelled,
    Command,
    Event,
    Expired,
    OpenOrder,
    OrderType,
    Reason,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)


class Status(StrEnum):
    PENDING = "pending"  # this peer accepted it, not ordered yet: it can't have traded
    OPEN = "open"
    PARTLY_FILLED = "partly_filled"  # and the rest is open
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


FINAL = frozenset({Status.FILLED, Status.CANCELLED, Status.EXPIRED, Status.REJECTED})


_TERMS = (
    *("account", "market", "side", "type", "tif", "price"),
    *("stop_price", "display", "expire_ms", "client_id"),
)
_terms_of = attrgetter(*_TERMS)


class Fill(NamedTuple):
    price: int
    quantity: int
    maker: bool  # this order was resting
    time_ms: int = 0
    number: int = 0  # of the trade in its market; 0: not known here


@dataclass
class OrderView:
    """An order now. `remaining` is the untraded quantity. It is open in the market only while the
    status is `open` or `partly_filled`."""

    id: int
    account: str = ""
    market: str = ""
    side: Side = Side.BUY
    type: OrderType = OrderType.LIMIT
    tif: TimeInForce = TimeInForce.GTC
    price: int = 0
    quantity: int = 0
    remaining: int = 0
    filled: int = 0
    stop_price: int = 0
    display: int = 0
    expire_ms: int = 0
    client_id: str = ""
    triggered: bool = False  # a stop order that has become a market or limit order
    status: Status = Status.PENDING
    reason: Reason | None = None
    time_ms: int = 0  # of the last change
    fills: list[Fill] = field(default_factory=list)

    @property
    def is_told(self) -> bool:
        """Whether `fills` has every fill of the order."""
        return self.filled == sum(fill.quantity for fill in self.fills)

    def apply(self, event: Event, time_ms: int = 0, trade: int = 0) -> bool:
        """Apply `event` to this order; False if it is about other orders only. `time_ms` and the
        number `trade` are those of a Trade."""
        match event:
            case Trade() if self.id in (event.maker, event.taker):
                self._trade(event, time_ms, trade)
            case Accepted() if event.id == self.id:
                self._accept(event)
            case Rejected() if event.id == self.id:
                self._reject(event.reason)
            case Reduced() | Replaced() | Triggered() | Cancelled() | Expired() if (
                event.id == self.id
            ):
                self._change(event)
            case _:
                return False
        return True

    def _change(self, event: Reduced | Replaced | Triggered | Cancelled | Expired) -> None:
        self.market, self.side = event.market, event.side
        self.quantity = self.filled + event.remaining
        self.remaining = event.remaining
        if isinstance(event, Cancelled):
            self.status, self.reason = Status.CANCELLED, event.reason
        elif isinstance(event, Expired):
            self.status = Status.EXPIRED
        else:
            self.status = Status.PARTLY_FILLED if self.filled else Status.OPEN
        if isinstance(event, Replaced) or not self.price:
            self.price = event.price
        if isinstance(event, Triggered):
            self.triggered = True

    def _reject(self, reason: Reason) -> None:
        if reason == Reason.UNKNOWN_ORDER:
            # The peer replaces a withdrawn command with a cancel of order 0.
            self.status = Status.CANCELLED
        else:
            self.status, self.reason = Status.REJECTED, reason

    def _accept(self, event: Accepted) -> None:
        self.status = Status.OPEN
        for name, value in _terms(event).items():
            setattr(self, name, value)
        self.quantity = self.remaining = event.quantity

    def _trade(self, event: Trade, time_ms: int, number: int) -> None:
        maker = self.id == event.maker
        self.remaining = event.maker_remaining if maker else event.taker_remaining
        self.filled += event.quantity
        self.fills.append(Fill(event.price, event.quantity, maker, time_ms, number))
        self.status = Status.PARTLY_FILLED if self.remaining else Status.FILLED

    def check(self) -> None:
        assert self.filled >= sum(fill.quantity for fill in self.fills)
        assert self.status != Status.FILLED or self.remaining == 0
        assert self.reason is not None or self.status != Status.REJECTED
        assert self.reason is None or self.status in (Status.REJECTED, Status.CANCELLED)
        if self.status in (Status.OPEN, Status.PARTLY_FILLED):
            assert self.remaining > 0
            assert self.quantity == self.filled + self.remaining


def submitted(command: Submit, number: int, time_ms: int = 0) -> OrderView:
    """The order of `command` before any event."""
    quantity = command.quantity
    return OrderView(
        number, quantity=quantity, remaining=quantity, time_ms=time_ms, **_terms(command)
    )


def resting(order: OpenOrder) -> OrderView:
    """An order that was in the market before this peer looked. Its earlier fills are unknown."""
    filled = max(0, order.quantity - order.remaining)
    return OrderView(
        order.id,
        quantity=filled + order.remaining,
        remaining=order.remaining,
        filled=filled,
        status=Status.PARTLY_FILLED if filled else Status.OPEN,
        **_terms(order),
    )


def _terms(order: Submit | Accepted | OpenOrder) -> dict[str, Any]:
    """The fields that a command, its event and an open order share."""
    return dict(zip(_TERMS, _terms_of(order), strict=True))


@dataclass
class Outcome:
    """The result of one command. `order` is None for a command that is not about one order.
    `cancelled` has the orders that a cancel-all cancelled."""

    id: int
    order: OrderView | None
    reason: Reason | None
    cancelled: list[int]


def outcome_of(
    command: Command,
    number: int,
    events: Iterable[Event],
    time_ms: int = 0,
    trades: Iterable[int] = (),
) -> Outcome:
    """The result of `command` with the id `number`. `events` are all its events, at `time_ms`, and
    `trades` the numbers of the trades among them."""
    if isinstance(command, Submit):
        order: OrderView | None = submitted(command, number)
    elif isinstance(command, Cancel | Reduce | Replace):
        order = OrderView(id=command.order, account=command.account)
    else:
        order = None
    outcome = Outcome(number, order, None, [])
    numbers = iter(trades)
    for event in events:
        trade = next(numbers, 0) if type(event) is Trade else 0
        if order is not None:
            order.apply(event, time_ms, trade)
        if isinstance(event, Rejected) and event.id == number:
            outcome.reason = event.reason
        elif isinstance(event, Cancelled):
            outcome.cancelled.append(event.id)
    if isinstance(command, Submit) and order is not None:
        outcome.reason = order.reason
    return outcome
