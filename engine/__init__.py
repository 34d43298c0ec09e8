"""The matching engine: commands in, events out, the same on every peer.

It is complete by itself. An exchange runs markets; prices are in ticks, quantities in lots:

>>> from engine import Exchange, Market, Side, Submit
>>> exchange = Exchange([Market(symbol="BTC-USD", tick="0.01", lot="0.001")])
>>> exchange.advance(1_700_000_000_000)
[]
>>> for event in exchange.apply(Submit(1, "ann", "BTC-USD", Side.SELL, quantity=5, price=10_100)):
...     print(type(event).__name__, event.id, event.quantity)
Accepted 1 5
>>> accepted, trade = exchange.apply(Submit(2, "bob", "BTC-USD", Side.BUY, 3, 10_200))
>>> trade.price, trade.quantity, trade.maker, trade.maker_remaining
(10100, 3, 1, 2)
>>> exchange.depth("BTC-USD", Side.SELL, limit=10)  # price, quantity shown, orders
[(10100, 2, 1)]
>>> exchange.apply(Submit(1, "bob", "BTC-USD", Side.BUY, 3, 10_000))
[Rejected(id=1, account='bob', reason=<Reason.DUPLICATE_ID: 12>)]

Markets come and go while it runs:

>>> exchange.add_market(Market("ETH-USD", "0.01", "0.001"))
[MarketState(market='ETH-USD', status=<MarketStatus.OPEN: 0>)]
>>> state, cancelled = exchange.close_market("BTC-USD")
>>> state.status, cancelled.id, cancelled.reason
(<MarketStatus.CLOSED: 2>, 1, <Reason.MARKET_CLOSED: 37>)

Its state is pieces of bytes under keys. Another exchange can continue from them:

>>> again = Exchange.restore(exchange.pieces())
>>> again.digest() == exchange.digest()
True

Errors: MarketError for a configuration, or a change of it, that the engine can't run, SnapshotError
for pieces that are not a valid state. A command never raises: the answer is events, `Rejected`
among them.
"""

# Compiled modules are found from here on.
from engine.native import why_plain

# isort: split
from engine.exchange import Exchange
from engine.hash_tree import (
    Branching,
    HashTree,
    Leaf,
    Node,
    Piece,
    leaf_digest,
    leaf_part,
    part_digest,
    read_part,
)
from engine.order_row import Row, opened
from engine.pieces import HEAD_KEY, KIND_SHIFT, Frozen, symbols_of
from engine.restore import Came
from engine.rows import (
    CHUNK_SHIFT,
    PIECE_BYTES_MAX,
    SnapshotError,
    changed_ids,
    ids_of,
    key_of,
    rows_of,
    spliced,
)
from engine.validation import MarketError, check_added, check_changed, check_market, may_stay
from engine.vocabulary import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    MARKETS_EVER_MAX,
    MARKETS_MAX,
    SOURCES,
    SYMBOL_LENGTH_MAX,
    TIME_MS_MAX,
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Event,
    Expired,
    Halt,
    Market,
    MarketState,
    MarketStatus,
    OpenOrder,
    OrderType,
    Reason,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)

__all__ = [
    "ACCOUNT_LENGTH_MAX",
    "CHUNK_SHIFT",
    "CLIENT_ID_LENGTH_MAX",
    "HEAD_KEY",
    "ID_MAX",
    "KIND_SHIFT",
    "MARKETS_EVER_MAX",
    "MARKETS_MAX",
    "PIECE_BYTES_MAX",
    "SOURCES",
    "SYMBOL_LENGTH_MAX",
    "TIME_MS_MAX",
    "Accepted",
    "Branching",
    "Came",
    "Cancel",
    "CancelAll",
    "Cancelled",
    "Command",
    "Event",
    "Exchange",
    "Expired",
    "Frozen",
    "Halt",
    "HashTree",
    "Leaf",
    "Market",
    "MarketError",
    "MarketState",
    "MarketStatus",
    "Node",
    "OpenOrder",
    "OrderType",
    "Piece",
    "Reason",
    "Reduce",
    "Reduced",
    "Rejected",
    "Replace",
    "Replaced",
    "Resume",
    "Row",
    "SelfTrade",
    "Side",
    "SnapshotError",
    "Submit",
    "TimeInForce",
    "Trade",
    "Triggered",
    "changed_ids",
    "check_added",
    "check_changed",
    "check_market",
    "ids_of",
    "key_of",
    "leaf_digest",
    "leaf_part",
    "may_stay",
    "opened",
    "part_digest",
    "read_part",
    "rows_of",
    "spliced",
    "symbols_of",
    "why_plain",
]
