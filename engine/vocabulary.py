"""The vocabulary of the market: commands in, events out.

Owns the types, enumerations and field meanings that every part of the project uses, on every wire.
Must never hold behaviour: what a command does is in `matching`, `book` and `exchange`.

Units: price in ticks, quantity in lots, time in milliseconds since the Unix epoch, all integers.
An id is a positive integer below 2**53. The caller gives it and never uses it twice. The id of a
`Submit` is the id of its order.
"""

from enum import IntEnum

import msgspec

ID_MAX = 2**53 - 1
SOURCES = 256  # an order's source is its id modulo this: on peers, the member that took it
TIME_MS_MAX = 2**53 - 1
ACCOUNT_LENGTH_MAX = 64  # characters
CLIENT_ID_LENGTH_MAX = 64
SYMBOL_LENGTH_MAX = 32
MARKETS_MAX = 64  # of an exchange, without closed ones
MARKETS_EVER_MAX = 256  # with closed ones


class Side(IntEnum):
    BUY = 0
    SELL = 1


class OrderType(IntEnum):
    LIMIT = 0
    MARKET = 1
    STOP = 2  # becomes a market order when the last trade reaches stop_price
    STOP_LIMIT = 3  # becomes a limit order at `price` then


class TimeInForce(IntEnum):
    GTC = 0  # good till cancelled
    IOC = 1  # immediate or cancel: what does not fill at once expires
    FOK = 2  # fill or kill: fills whole at once, or expires whole
    GTD = 3  # good till date: expires when the ordered clock reaches expire_ms


class SelfTrade(IntEnum):
    """What happens when an order would trade with one of the same account."""

    NONE = 0  # it trades
    CANCEL_RESTING = 1
    CANCEL_INCOMING = 2
    CANCEL_BOTH = 3
    DECREMENT = 4  # both shrink by the smaller of the two, without a trade


class MarketStatus(IntEnum):
    OPEN = 0
    HALTED = 1  # nothing trades, but orders may leave
    CLOSED = 2  # for good: all its orders were cancelled


class Reason(IntEnum):
    """Why a command was rejected. When several apply, the first in this order wins."""

    UNKNOWN_MARKET = 1
    INVALID_ID = 2  # not from 1 to ID_MAX
    INVALID_ACCOUNT = 3  # empty, or longer than ACCOUNT_LENGTH_MAX
    INVALID_CLIENT_ID = 4  # longer than CLIENT_ID_LENGTH_MAX
    INVALID_SIDE = 5
    INVALID_TYPE = 6  # or time in force, post-only, self-trade; or their combination
    INVALID_QUANTITY = 7
    INVALID_PRICE = 8
    INVALID_STOP_PRICE = 9
    INVALID_DISPLAY = 10
    INVALID_EXPIRY = 11
    DUPLICATE_ID = 12  # of an open order
    UNKNOWN_ORDER = 13
    NOT_OWNER = 14
    MARKET_CLOSED = 37  # also of the orders that were cancelled with it
    MARKET_HALTED = 15
    MARKET_NOT_HALTED = 16
    QUANTITY_TOO_SMALL = 17
    QUANTITY_TOO_LARGE = 18
    OUTSIDE_PRICE_BAND = 19
    TOO_MANY_ORDERS = 20  # of this account
    BOOK_FULL = 21
    NOT_SMALLER = 22  # a reduce to the open quantity or more
    WOULD_CROSS = 23  # post-only
    # For accounts named after a key. Peers, not the engine, give these reasons, before a command
    # reaches a market. So they win over all above; among them the first wins.
    NOT_SIGNED = 24
    SIGNATURE_EXPIRED = 25  # or valid for too long
    NONCE_USED = 26  # not above that of the account's last command
    TOO_MANY_KEYS = 27  # accounts signed within a day, each first through this member
    BAD_SIGNATURE = 28
    SHARE_FULL = 29  # open orders of key accounts through this member
    NOT_TAKEN_HERE = 30  # a removal of an order that another member took
    # For a cancelled order: its account did not cancel it.
    REMOVED = 31  # the member that took it did
    CANCELLED_BY_VOTE = 38  # the members did, with all orders of the account
    # For the members' own commands. Peers give these reasons.
    UNKNOWN_PROPOSAL = 32  # over, or never made
    OTHER_EPOCH = 33  # an approval of another epoch
    TOO_MANY_PROPOSALS = 34  # open, of this member
    IMPOSSIBLE_CHANGE = 35  # as the mesh is now
    ALREADY_ACCEPTED = 36  # so it is too late to withdraw the proposal
    NEEDS_APPROVAL = 39  # a halt or resume of a market by an account
    # For orders with a client id that their account has used before. Peers give these reasons.
    SENT_BEFORE = 40  # for the same order: that one counts
    OTHER_ORDER = 41


class _Message(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    gc=False,
    forbid_unknown_fields=True,
    tag_field="kind",  # not on the wire: the tag comes first there; `type` is a field's name
):
    pass


class Submit(_Message, frozen=True, tag=0):
    id: int
    account: str
    market: str
    side: Side
    quantity: int
    price: int = 0  # of LIMIT and STOP_LIMIT
    type: OrderType = OrderType.LIMIT
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    stop_price: int = 0  # of STOP and STOP_LIMIT
    display: int = 0  # iceberg: how many lots are shown at a time; 0 shows all
    self_trade: SelfTrade = SelfTrade.NONE
    expire_ms: int = 0  # of GTD
    client_id: str = ""  # the submitter's own name for the order; opaque to the engine


class Cancel(_Message, frozen=True, tag=1):
    id: int
    account: str
    order: int


class CancelAll(_Message, frozen=True, tag=2):
    """Cancel every open order of an account, stops included, in ascending order of id."""

    id: int
    account: str
    market: str = ""  # empty: all markets
    side: Side | None = None


class Reduce(_Message, frozen=True, tag=3):
    """Reduce the open quantity of an order. It keeps its place in the queue."""

    id: int
    account: str
    order: int
    quantity: int  # open afterwards, in lots


class Replace(_Message, frozen=True, tag=4):
    """Give an order a new price or open quantity. It keeps its id, always loses its place in the
    queue, and may trade at once."""

    id: int
    account: str
    order: int
    price: int = 0  # 0 keeps it
    quantity: int = 0  # open afterwards, in lots; 0 keeps it


class Halt(_Message, frozen=True, tag=5):
    id: int
    account: str
    market: str


class Resume(_Message, frozen=True, tag=6):
    id: int
    account: str
    market: str


Command = Submit | Cancel | CancelAll | Reduce | Replace | Halt | Resume


class Accepted(_Message, frozen=True, tag=0):
    """An order entered the market. Trades, expiry or rest follow. After the last trade of its
    command, the remainder of a limit order rests at `price`."""

    id: int
    account: str
    market: str
    side: Side
    quantity: int
    price: int
    type: OrderType
    tif: TimeInForce
    stop_price: int
    display: int
    expire_ms: int
    client_id: str


class Trade(_Message, frozen=True, tag=1):
    """Two orders traded at the maker's price."""

    market: str
    side: Side  # the taker's: the aggressor's
    price: int
    quantity: int
    maker: int
    taker: int
    maker_account: str
    taker_account: str
    maker_remaining: int  # open afterwards, hidden quantity included
    taker_remaining: int


class Reduced(_Message, frozen=True, tag=2):
    """The open quantity of an order became smaller. It kept its place."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int


class Replaced(_Message, frozen=True, tag=3):
    """An order has a new price or quantity, at the back of the queue. Trades may follow."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int


class Cancelled(_Message, frozen=True, tag=4):
    """An order left the market on request or by self-trade prevention."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int  # open before the cancel
    reason: Reason | None = None  # None: its account asked for it


class Expired(_Message, frozen=True, tag=5):
    """The unfilled rest of a market, IOC or FOK order, or a GTD order at its expiry."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int


class Rejected(_Message, frozen=True, tag=6):
    """A command that changed nothing."""

    id: int  # of the command
    account: str
    reason: Reason


class Triggered(_Message, frozen=True, tag=7):
    """A stop order became a market or limit order. Trades may follow."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int


class MarketState(_Message, frozen=True, tag=8):
    """A new market, or one that was halted, resumed or closed."""

    market: str
    status: MarketStatus


Event = (
    Accepted | Trade | Reduced | Replaced | Cancelled | Expired | Rejected | Triggered | MarketState
)


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients may trade, and the limits. The same on every peer, byte for byte."""

    symbol: str
    tick: str  # decimal price of one tick, such as "0.01"
    lot: str  # decimal quantity of one lot, such as "0.00000001"
    quantity_min: int = 1
    quantity_max: int = 10**12
    price_max: int = 10**12
    price_band_percent: int = 0  # around the last trade; 0: none
    orders_per_account_max: int = 100_000  # open, stops included
    orders_max: int = 1_000_000  # stops included
    iceberg_slices_max: int = 100  # slices of a quantity by its display


class OpenOrder(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """An order in the market, for display."""

    id: int
    account: str
    market: str
    side: Side
    price: int
    remaining: int
    quantity: int  # as first accepted, or as last replaced
    type: OrderType
    tif: TimeInForce
    stop_price: int
    display: int
    expire_ms: int
    client_id: str
