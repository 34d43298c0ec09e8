"""The orders of one account, kept up to date from its node's messages.

Owns open and pending orders and the most recent finished ones. Must never guess how an order ended:
if an order is gone after a loss of messages, the mirror drops it without a status. Pure.
"""

from collections import OrderedDict
from collections.abc import Iterable

from engine import Accepted, Event, MarketState, Submit, Trade
from peer.client.protocol import NO_STAMP, AccountUpdate, Orders, PendingUpdate, Stamp
from peer.replica.order_state import FINAL, OrderView, Status, resting, submitted

FINISHED_MAX = 200  # finished orders kept per account


class AccountMirror:
    def __init__(self, account: str) -> None:
        self.account = account
        self.open: dict[int, OrderView] = {}  # pending ones included
        self.finished: OrderedDict[int, OrderView] = OrderedDict()  # oldest first
        self.seq = -1
        self.number = 0  # of the last frame for browsers
        self.ready = False  # an Orders has come
        self.listeners = 0

    def take(self, message: Orders | PendingUpdate | AccountUpdate) -> list[OrderView]:
        """The orders that `message` changed; for an Orders, all open ones."""
        if isinstance(message, Orders):
            self._reset(message)
            return list(self.open.values())
        assert self.ready, f"{message} came before Orders"
        assert message.seq == self.seq + 1, f"{message} came after {self.seq}"
        self.seq = message.seq
        if isinstance(message, AccountUpdate):
            return self._apply(message)
        return self._add_pending(message) + self._withdraw(message.withdrawn)

    def _apply(self, update: AccountUpdate) -> list[OrderView]:
        changed: dict[int, OrderView] = {}
        stamps = iter(update.trades)
        for event in update.events:
            stamp = next(stamps, NO_STAMP) if type(event) is Trade else NO_STAMP
            for number in _orders_of(event):
                order = self._take(number, event, stamp)
                if order is not None:
                    order.time_ms = update.time_ms
                    changed[number] = order
        return list(changed.values())

    def _take(self, number: int, event: Event, stamp: Stamp) -> OrderView | None:
        order = self.open.get(number)
        if order is None and isinstance(event, Accepted) and event.account == self.account:
            order = self.open[number] = OrderView(number, account=self.account)
        trade, time_ms = stamp
        if order is None or not order.apply(event, time_ms, trade):
            return None
        if order.status in FINAL:
            self._finish(order)
        return order

    def _finish(self, order: OrderView) -> None:
        self.open.pop(order.id, None)
        self.finished[order.id] = order
        while len(self.finished) > FINISHED_MAX:
            self.finished.popitem(last=False)

    def _add_pending(self, update: PendingUpdate) -> list[OrderView]:
        """Add orders that the node has taken. An Orders may have listed them already."""
        new = [
            submitted(command, number, update.time_ms)
            for number, command in update.pending
            if isinstance(command, Submit) and number not in self.open
        ]
        self.open.update((order.id, order) for order in new)
        return new

    def _withdraw(self, ids: Iterable[int]) -> list[OrderView]:
        """Finish pending orders that were withdrawn before any other peer saw them."""
        gone = [self.open[number] for number in ids if number in self.open]
        for order in gone:
            order.status = Status.CANCELLED
            self._finish(order)
        return gone

    def _reset(self, orders: Orders) -> None:
        """Start again from the node's list. Keeps the known fills of an order if they still add
        up."""
        known, self.open = self.open, {}
        for entry in orders.open:
            order, before = resting(entry), known.get(entry.id)
            if before is not None and before.filled == order.filled:
                order.fills, order.time_ms = before.fills, before.time_ms
            self.open[order.id] = order
        for number, command in orders.pending:
            if isinstance(command, Submit):
                self.open[number] = submitted(command, number)
        self.seq, self.ready = orders.seq, True
        self.number += 1

    def check(self) -> None:
        assert not self.open.keys() & self.finished.keys()
        assert all(order.status not in FINAL for order in self.open.values())
        assert all(order.status in FINAL for order in self.finished.values())
        for order in (*self.open.values(), *self.finished.values()):
            order.check()


def _orders_of(event: Event) -> tuple[int, ...]:
    if isinstance(event, Trade):
        return (event.maker, event.taker)
    return () if isinstance(event, MarketState) else (event.id,)
