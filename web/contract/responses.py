"""What the HTTP interface answers, as types: the document at `/openapi.json` is made from them.

Owns nothing but the description; `views` makes the answers, and tests hold them against this. A
field with a default of UNSET may be missing.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from peer.client.order_input import SideName, TifName, TypeName

Amount = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$", description="A decimal number as text.")]
# A tuple would say more, but schemathesis does not understand its schema.
Level = Annotated[
    list[Amount | int],
    Meta(min_length=3, max_length=3, description="Price, quantity, number of orders."),
]
Call = Annotated[list[Any], Meta(min_length=3, max_length=3)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]*$", description="BLAKE2b of the engine's state.")]
TimeMs = Annotated[int, Meta(description="Milliseconds since 1970.")]
_MEMBER = "([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-6])"
Id = Annotated[
    str, Meta(pattern=f"^{_MEMBER}-[0-9]{{1,13}}$", description="Member and its count: 2-17.")
]


class Reply(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing but the fields that are named."""


class Fill(Reply, frozen=True):
    price: Amount
    quantity: Amount
    maker: bool


class Order(Reply, frozen=True):
    """An order; amounts are missing only if its market does not exist."""

    id: Id
    account: str
    market: str
    side: SideName
    type: TypeName
    tif: TifName
    status: str
    client_id: str
    time: TimeMs
    fills: list[Fill]
    price: Amount | UnsetType | None = UNSET
    quantity: Amount | UnsetType = UNSET
    remaining: Amount | UnsetType = UNSET
    filled: Amount | UnsetType = UNSET
    stop_price: Amount | UnsetType = UNSET
    triggered: bool | UnsetType = UNSET
    display: Amount | UnsetType = UNSET
    expire: TimeMs | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    commit: int | UnsetType = UNSET


class Session(Reply, frozen=True):
    account: str | None
    scopes: list[str]
    reads: str | UnsetType = UNSET


class Orders(Reply, frozen=True):
    """`finished` is complete from `since` on; null: not even that is known."""

    account: str
    orders: list[Order]
    finished: list[Order]
    since: TimeMs | None


class Account(Reply, frozen=True):
    """How many open orders an account has, whichever peer took them."""

    account: str
    orders: int
    is_key: bool
    barred: bool


class Accounts(Reply, frozen=True):
    accounts: list[Account]
    barred: list[str]


class Barred(Reply, frozen=True):
    account: str
    barred: bool


class Batch(Reply, frozen=True):
    results: list[Order]


class Cancelled(Reply, frozen=True):
    id: Id
    status: str
    cancelled: list[Id]
    commit: int
    time: TimeMs


class Pending(Reply, frozen=True):
    """Not ordered yet: `GET /orders` will tell."""

    id: Id
    status: str


class Withdrawn(Reply, frozen=True):
    """Taken back before any other peer saw it."""

    id: Id
    status: str
    detail: str


class Trade(Reply, frozen=True):
    number: int
    time: TimeMs
    price: Amount
    quantity: Amount
    side: SideName
    maker: Id
    taker: Id


class Trades(Reply, frozen=True):
    market: str
    trades: list[Trade]
    missed: int


class Candle(Reply, frozen=True):
    time: TimeMs
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    volume: Amount
    trades: int


class Candles(Reply, frozen=True):
    market: str
    interval: int
    missed: int
    candles: list[Candle]


Share = Annotated[
    list[int | Amount],
    Meta(min_length=3, max_length=3, description="Member, as in ids; quantity; number of orders."),
]


Signed = Annotated[str, Meta(pattern=r"^-?\d+(\.\d+)?$", description="As text; may be negative.")]


class Ticker(Reply, frozen=True):
    """Best prices, the last trade, and all since `since`: 24 hours, or less if less is known."""

    market: str
    bid: Amount | None
    bid_quantity: Amount | None
    ask: Amount | None
    ask_quantity: Amount | None
    last: Amount | None
    last_quantity: Amount | None
    last_time: TimeMs | None
    trades: int
    open: Amount | None
    high: Amount | None
    low: Amount | None
    change: Signed | None
    change_percent: Signed | None
    volume: Amount
    since: TimeMs


class Book(Reply, frozen=True):
    market: str
    seq: int
    commit: int
    time: TimeMs
    digest: Digest
    bids: list[Level]
    asks: list[Level]
    checksum: int


class BookOfPeers(Book, frozen=True):
    """With `?peers=1`, of each level what each peer has taken of it."""

    bid_peers: list[list[Share]] | UnsetType = UNSET
    ask_peers: list[list[Share]] | UnsetType = UNSET


class Market(Reply, frozen=True):
    symbol: str
    tick: Amount
    lot: Amount
    quantity_min: Amount
    quantity_max: Amount
    price_max: Amount
    price_band_percent: int


class Peer(Reply, frozen=True):
    """A member of the mesh as this peer sees it."""

    name: str
    key: str
    address: str
    self: bool
    alive: bool
    round: int
    commit: int
    age_ms: int
    agrees: bool | None
    unread: int
    barred: str
    hears: list[str]
    renewed: int


class Mesh(Reply, frozen=True):
    state: str
    peer: str
    mesh: str
    mode: str
    quorum: bool
    quorum_size: int
    round: int
    commit: int
    digest: Digest
    pending: int
    finality_ms: float
    halted: str
    alarms: list[str]
    catching_up: str
    refused: int
    unanswered: int
    oldest_pending_ms: int
    peers: list[Peer]


class State(Book, frozen=True):
    """The book with everything else; of the mesh only a part until it is known."""

    tick: Amount
    lot: Amount
    trades: list[Trade]
    state: str
    peer: str | None
    quorum: bool
    pending: int
    peers: list[Peer]
    mesh: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    quorum_size: int | UnsetType = UNSET
    round: int | UnsetType = UNSET
    finality_ms: float | UnsetType = UNSET
    halted: str | UnsetType = UNSET
    alarms: list[str] | UnsetType = UNSET
    catching_up: str | UnsetType = UNSET
    refused: int | UnsetType = UNSET
    unanswered: int | UnsetType = UNSET
    oldest_pending_ms: int | UnsetType = UNSET


class Health(Reply, frozen=True):
    status: str


class Reason(Struct, frozen=True):
    """Why this peer is not ready."""

    code: str
    detail: str


class Problem(Struct, frozen=True):
    """RFC 9457. `field` is the part of the request that is wrong, `reasons` are of /readyz."""

    type: str
    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    reasons: list[Reason] | UnsetType = UNSET
