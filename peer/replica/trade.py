"""A trade of the one order of commands: with a number and a time, the same on every peer.

Owns the form of trades in the replicated state, its digest and the journal. Must never gain a field
for a page: display data belongs to `web`.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from engine import Event, Trade

TRADES_KEPT = 200  # of each market, in the state


class MarketTrade(
    msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True
):
    """One trade. `number` counts a market's trades from 1."""

    number: int
    time_ms: int
    price: int  # ticks
    quantity: int  # lots
    side: int  # the taker's: 0 bought, 1 sold
    maker: int  # ids of the orders
    taker: int


_NO_TRADES: list[int] = []  # never changed


class Recorded(NamedTuple):
    """The trades of a commit."""

    trades: dict[str, list[MarketTrade]]  # by market, oldest first
    numbers: list[list[int]]  # of the trades of each command


def record(
    results: Iterable[list[Event]],
    time_ms: int,
    last: dict[str, int],
    kept: dict[str, deque[MarketTrade]],
) -> Recorded:
    """Number the trades among the events of a commit's commands, after the `last` of each market,
    and keep them."""
    new: dict[str, list[MarketTrade]] = {}
    numbers = []
    for events in results:
        found = _NO_TRADES
        if len(events) > 1:  # a trade follows the event that says why its taker trades
            found = []
            for t in events:
                if type(t) is Trade:
                    last[t.market] = number = last[t.market] + 1
                    made = number, time_ms, t.price, t.quantity, t.side, t.maker, t.taker
                    new.setdefault(t.market, []).append(MarketTrade(*made))
                    found.append(number)
        numbers.append(found)
    for market, trades in new.items():
        kept[market].extend(trades)
    return Recorded(new, numbers)
