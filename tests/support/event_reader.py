"""A reader of the market that sees only events.

Owns the proof that the event stream is complete: it rebuilds every order, every queue and the
displayed book by the rules for readers in docs/engine.md. Must never ask the engine.
"""

from dataclasses import dataclass

from engine import (
    Accepted,
    Cancelled,
    Event,
    Expired,
    MarketState,
    MarketStatus,
    OrderType,
    Reduced,
    Rejected,
    Replaced,
    Side,
    Trade,
    Triggered,
)

STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)


@dataclass
class Seen:
    """One order, from the events so far. `entered` is the quantity that can trade, be cancelled or
    reduced, or expire; `traded` and `dropped` are the parts that did."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int
    display: int
    waiting: bool
    entered: int
    shown: int = 0
    traded: int = 0
    dropped: int = 0


class EventReader:
    def __init__(self) -> None:
        self.orders: dict[int, Seen] = {}
        self.queues: dict[tuple[str, Side, int], list[Seen]] = {}
        self.halted: set[str] = set()
        self.last: dict[str, int] = {}
        self._active: Seen | None = None

    def read(self, events: list[Event]) -> None:
        """Apply the events of one command, or of the clock."""
        for event in events:
            self._read(event)
        self._settle()

    def depth(self, market: str, side: Side) -> list[tuple[int, int, int]]:
        """Levels, best first: price, displayed quantity, orders."""
        rows = [
            (price, sum(order.shown for order in queue), len(queue))
            for (symbol, its, price), queue in self.queues.items()
            if (symbol, its) == (market, side) and queue
        ]
        return sorted(rows, reverse=side is Side.BUY)

    def queue(self, market: str, side: Side) -> list[tuple[int, int, int]]:
        """Resting orders in order of execution: id, displayed quantity, open quantity."""
        return [
            (order.id, order.shown, order.remaining)
            for price, _, _ in self.depth(market, side)
            for order in self.queues[market, side, price]
        ]

    def _read(self, event: Event) -> None:
        match event:
            case Accepted():
                waiting = event.type in STOPS
                order = Seen(
                    event.id,
                    event.account,
                    event.market,
                    event.side,
                    event.price,
                    event.quantity,
                    event.display,
                    waiting,
                    event.quantity,
                )
                assert event.id not in self.orders
                self.orders[event.id] = order
                self._active = None if waiting else order
            case Triggered():
                self._settle()
                order = self.orders[event.id]
                assert order.waiting
                order.waiting = False
                self._active = order
            case Replaced():
                order = self.orders[event.id]
                self._leave(order)
                order.price = event.price
                order.entered += event.remaining - order.remaining
                order.remaining = event.remaining
                self._active = None if order.waiting else order
            case Trade():
                self._trade(event)
            case Reduced():
                order = self.orders[event.id]
                assert 0 < event.remaining < order.remaining
                order.dropped += order.remaining - event.remaining
                order.remaining = event.remaining
                order.shown = min(order.shown, event.remaining)
            case Cancelled() | Expired():
                order = self.orders.pop(event.id)
                assert order.remaining == event.remaining > 0
                order.dropped += order.remaining
                assert order.entered == order.traded + order.dropped
                if order is self._active:
                    self._active = None
                else:
                    self._leave(order)
            case MarketState():
                is_open = event.status is MarketStatus.OPEN
                (self.halted.discard if is_open else self.halted.add)(event.market)
            case Rejected():
                pass

    def _trade(self, event: Trade) -> None:
        maker, taker = self.orders[event.maker], self.orders[event.taker]
        assert taker is self._active
        assert taker.side is event.side is not maker.side
        assert (event.maker_account, event.taker_account) == (maker.account, taker.account)
        best_price, _, _ = self.depth(event.market, maker.side)[0]
        queue = self.queues[event.market, maker.side, event.price]
        assert event.price == maker.price == best_price
        assert queue[0] is maker
        assert 0 < event.quantity <= maker.shown
        for order, remaining in (
            (maker, event.maker_remaining),
            (taker, event.taker_remaining),
        ):
            order.remaining -= event.quantity
            order.traded += event.quantity
            assert order.remaining == remaining
            if not remaining:
                assert order.entered == order.traded + order.dropped
                del self.orders[order.id]
        maker.shown -= event.quantity
        if not maker.shown:
            queue.remove(maker)
            if maker.remaining:
                self._join(maker)
        if not taker.remaining:
            self._active = None
        self.last[event.market] = event.price

    def _settle(self) -> None:
        """Let the rest of the active order rest in the book."""
        order, self._active = self._active, None
        if order is not None:
            self._join(order)

    def _join(self, order: Seen) -> None:
        order.shown = min(order.display or order.remaining, order.remaining)
        self.queues.setdefault((order.market, order.side, order.price), []).append(order)

    def _leave(self, order: Seen) -> None:
        if not order.waiting:
            self.queues[order.market, order.side, order.price].remove(order)
