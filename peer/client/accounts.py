"""The orders of one account, kept up to date from the node's events.

Owns open and pending orders and the most recent finished ones. Must never guess how an order ended:
one that is gone after a loss of messages is gone here too, without a status made up. Pure.
"""

from collections import OrderedDict, deque

from engine import Accepted, Event, MarketState, Submit, Trade
from peer.client.protocol import AccountUpdate, Orders
from peer.replica.order_state import FINAL, OrderView, Status, resting, submitted

FINISHED_MAX = 200  # finished orders kept per account
STAGED_MAX = 1_000  # updates kept while the orders are asked for


class AccountMirror:
    def __init__(self, account: str) -> None:
        self.account = account
        self.open: dict[int, OrderView] = {}  # pending ones included
        self.finished: OrderedDict[int, OrderView] = OrderedDict()  # oldest first
        self.seq = -1
        self.number = 0  # of the frames for the browsers
        self.ready = False
        self.listeners = 0
        self.stale = True  # updates may have been lost: Orders is needed
        self._staged: deque[AccountUpdate] = deque(maxlen=STAGED_MAX)

    def apply(self, update: AccountUpdate) -> list[OrderView]:
        """The orders that `update` changed; sets `stale` if messages before it were lost."""
        if self.stale or update.seq > self.seq + 1:
            self.stale = True
            self._staged.append(update)
            return []
        if update.seq <= self.seq:
            return []
        self.seq = update.seq
        changed: dict[int, OrderView] = {}
        for event in update.events:
            for number in _orders_of(event):
                order = self._take(number, event)
                if order is not None:
                    order.time_ms = update.time_ms
                    changed[number] = order
        return list(changed.values())

    def _take(self, number: int, event: Event) -> OrderView | None:
        order = self.open.get(number)
        if order is None and isinstance(event, Accepted) and event.account == self.account:
            order = self.open[number] = OrderView(number, account=self.account)
        if order is None or not order.apply(event):
            return None
        if order.status in FINAL:
            self._finish(order)
        return order

    def _finish(self, order: OrderView) -> None:
        self.open.pop(order.id, None)
        self.finished[order.id] = order
        while len(self.finished) > FINISHED_MAX:
            self.finished.popitem(last=False)

    def add_pending(self, orders: list[OrderView]) -> list[OrderView]:
        """Orders this gateway sent and the node has taken, unless they were heard of already."""
        new = [o for o in orders if o.id not in self.open and o.id not in self.finished]
        self.open.update((order.id, order) for order in new)
        return new

    def settle(self, order: OrderView) -> bool:
        """The final answer to an order whose events did not come by the feed; True if news."""
        known = self.open.get(order.id)
        if known is None or known.status != Status.PENDING:
            return False
        if order.status in FINAL:
            self._finish(order)
        else:
            self.open[order.id] = order
        return True

    def withdraw(self, ids: list[int]) -> list[OrderView]:
        """Pending orders that were taken back before any peer saw them."""
        gone = [self.open[number] for number in ids if number in self.open]
        for order in gone:
            order.status = Status.CANCELLED
            self._finish(order)
        return gone

    def reset(self, orders: Orders) -> None:
        """Start again from the node's list. Earlier fills of an order are kept if they still add
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
        self.seq, self.ready, self.stale = orders.seq, True, False
        self.number += 1
        staged, self._staged = self._staged, deque(maxlen=STAGED_MAX)
        for update in staged:
            self.apply(update)

    def restart(self) -> None:
        self.seq, self.stale = -1, True
        self._staged.clear()

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
