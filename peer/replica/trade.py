"""A trade of the one order of commands: with a number and a time, the same on every peer.

Owns the form of trades in the replicated state, its digest and the journal. Must never gain a field
for a page: display data belongs to `web`.
"""

from collections import deque
from collections.abc import Iterable

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


def record(
    results: Iterable[list[Event]],
    time_ms: int,
    numbers: dict[str, int],
    kept: dict[str, deque[MarketTrade]],
) -> dict[str, list[MarketTrade]]:
    """Number the trades among the events of a commit's commands, after those of each market so far,
    and keep them. Returns them by market."""
    traded: dict[str, list[Trade]] = {}
    for events in results:
        if len(events) > 1:  # a trade follows the event that says why its taker trades
            for event in events:
                if type(event) is Trade:
                    traded.setdefault(event.market, []).append(event)
    new = {}
    for market, trades in traded.items():
        first = numbers[market] + 1
        new[market] = [
            MarketTrade(n, time_ms, t.price, t.quantity, t.side, t.maker, t.taker)
            for n, t in enumerate(trades, first)
        ]
        numbers[market] += len(trades)
        kept[market].extend(new[market])
    return new
