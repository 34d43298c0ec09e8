"""A trade of the one order of commands: with a number and a time, the same on every peer.

Owns the form of trades in the replicated state, its digest and the journal. Must never gain a field
for a page: display data belongs to `web`.
"""

import msgspec

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
