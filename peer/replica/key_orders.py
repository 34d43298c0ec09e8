"""How many open orders key accounts may have: the part of the replicated state that counts them.

Owns the counts, by account and by the member that took the orders. They follow from the open orders
alone, so they are the same on every peer, and no snapshot needs them. Must never know a signature.

Anyone can make any number of keys and fill a market with orders that only their owner may cancel.
So all key accounts together get a part of a market's capacity. Each member has an equal share of
that part, and each account a small limit. A full share at one member blocks no key at the other
members and no account with an API key.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from engine import (
    Accepted,
    Cancelled,
    Command,
    Event,
    Exchange,
    Expired,
    Market,
    OpenOrder,
    Reason,
    Submit,
    Trade,
    may_stay,
)
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.signed import KEY_PREFIX

KEY_ORDERS_PERCENT = 50  # of a market's `orders_max`
KEY_ACCOUNT_ORDERS_MAX = 500  # of one key account in one market


def share_of(market: Market, members: int) -> int:
    """The maximum of open key-account orders in a market through each member."""
    return max(market.orders_max * KEY_ORDERS_PERCENT // 100 // members, 1)


def orders_of_keys(exchange: Exchange) -> Iterator[OpenOrder]:
    """The open orders of key accounts."""
    names = {name for name, _ in exchange.accounts() if name.startswith(KEY_PREFIX)}
    return (order for name in names for order in exchange.open_orders(name))


class KeyOrders:
    """Counts the orders of key accounts: from `orders`, all open, then from all events."""

    def __init__(
        self, markets: Sequence[Market], members: int, orders: Iterable[OpenOrder] = ()
    ) -> None:
        self._markets: dict[str, Market] = {}
        self.share_among(members)
        self.limit(markets)
        self._open: Counter[tuple[str, int | str]] = Counter()  # by market, and member or account
        for order in orders:
            self._add(1, order.id, order.account, order.market)

    def limit(self, markets: Iterable[Market]) -> None:
        """These markets are new, or have new limits."""
        self._markets.update((each.symbol, each) for each in markets)
        self.share_among(self._members)

    def share_among(self, members: int) -> None:
        """There are so many members now."""
        self._members = members
        every = self._markets.values()
        self._shares = {market.symbol: share_of(market, members) for market in every}

    def __bool__(self) -> bool:
        """Whether any order is open."""
        return bool(self._open)

    def refusal(self, command: Command, member: int) -> Reason | None:
        """Why a key account's command through a member exceeds a limit; None if it does not."""
        if type(command) is not Submit or command.market not in self._shares:
            return None
        if not may_stay(command):
            return None
        if self._open[command.market, command.account] >= KEY_ACCOUNT_ORDERS_MAX:
            return Reason.TOO_MANY_ORDERS
        full = self._open[command.market, member] >= self._shares[command.market]
        return Reason.SHARE_FULL if full else None

    def note(self, events: Iterable[Event]) -> None:
        """Count the orders that opened and closed."""
        for event in events:
            if type(event) is Trade:
                if not event.maker_remaining:
                    self._add(-1, event.maker, event.maker_account, event.market)
                if not event.taker_remaining:
                    self._add(-1, event.taker, event.taker_account, event.market)
            elif type(event) is Accepted:
                self._add(1, event.id, event.account, event.market)
            elif type(event) is Cancelled or type(event) is Expired:
                self._add(-1, event.id, event.account, event.market)

    def _add(self, count: int, order: int, account: str, market: str) -> None:
        if account.startswith(KEY_PREFIX):
            for name in (order % MEMBERS_SPACE, account):
                self._open[market, name] += count
                if not self._open[market, name]:
                    del self._open[market, name]

    def check(self, orders: Iterable[OpenOrder]) -> None:
        found = KeyOrders((), 1, orders)
        assert self._open == found._open
        assert all(count > 0 for count in self._open.values())
