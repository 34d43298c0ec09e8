"""The API's responses about markets and the mesh. `responses` has the conventions and the rest."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Literal, Self

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple, replace

from peer.client import protocol
from peer.client.levels import SideMirror
from peer.client.order_input import SideName
from peer.client.protocol import format_id
from peer.client.units import Units
from peer.replica.trade import MarketTrade
from web.contract.responses import Amount, Id, Json, Reply, TimeMs, copied, fields_of
from web.market_data import candles as kept
from web.market_data.book_mirror import BookMirror, format_levels
from web.market_data.mirrors import Mirrors

Levels = Iterable[protocol.Level]
# A tuple would be more exact, but schemathesis does not support its schema.
Level = Annotated[
    Sequence[Amount | int],
    Meta(min_length=3, max_length=3, description="Price, quantity, number of orders."),
]
Share = Annotated[
    Sequence[int | Amount],
    Meta(min_length=3, max_length=3, description="Member, as in ids; quantity; number of orders."),
]
Signed = Annotated[str, Meta(pattern=r"^-?\d+(\.\d+)?$", description="As text; may be negative.")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]*$", description="BLAKE2b of the engine's state.")]


StatusName = Literal["open", "halted", "closed"]


class Trade(Reply, frozen=True):
    number: int
    time: TimeMs
    price: Amount
    quantity: Amount
    side: SideName
    maker: Id
    taker: Id

    @classmethod
    def of(cls, trade: MarketTrade, units: Units) -> Self:
        return cls(
            trade.number,
            trade.time_ms,
            units.price.text(trade.price),
            units.quantity.text(trade.quantity),
            "sell" if trade.side else "buy",
            format_id(trade.maker),
            format_id(trade.taker),
        )


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

    @classmethod
    def of(cls, candle: kept.Candle, units: Units) -> Self:
        prices = candle.open, candle.high, candle.low, candle.close
        open_, high, low, close = map(units.price.text, prices)
        volume = units.quantity.text(candle.volume)
        return cls(candle.time_ms, open_, high, low, close, volume, candle.trades)


class Candles(Reply, frozen=True):
    market: str
    interval: int
    missed: int
    candles: list[Candle]


class Ticker(Reply, frozen=True):
    """Best prices, the last trade, and figures since `since`: of 24 hours, or less if less is
    known."""

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

    @classmethod
    def of(cls, mirror: BookMirror, now_ms: int) -> Self:
        price, quantity = mirror.units.price.text, mirror.units.quantity.text
        bid, ask = (next(iter(side.levels(1)), None) for side in (mirror.bids, mirror.asks))
        last = mirror.trades[0] if mirror.trades else None
        day = mirror.candles.day(max(now_ms, mirror.time_ms))
        change, traded = day.close - day.open, day.open > 0
        sign = "-" if change < 0 else ""
        # In hundredths of a percent, rounded half away from zero.
        share = (20_000 * abs(change) + day.open) // (2 * day.open) if traded else 0
        return cls(
            market=mirror.units.market.symbol,
            bid=price(bid[0]) if bid else None,
            bid_quantity=quantity(bid[1]) if bid else None,
            ask=price(ask[0]) if ask else None,
            ask_quantity=quantity(ask[1]) if ask else None,
            last=price(last.price) if last else None,
            last_quantity=quantity(last.quantity) if last else None,
            last_time=last.time_ms if last else None,
            trades=last.number if last else 0,
            open=price(day.open) if traded else None,
            high=price(day.high) if traded else None,
            low=price(day.low) if traded else None,
            change=sign + price(abs(change)) if traded else None,
            change_percent=f"{sign}{share // 100}.{share % 100:02}" if traded else None,
            volume=quantity(day.volume),
            since=day.since_ms,
        )


class Market(Reply, frozen=True):
    symbol: str
    tick: Amount
    lot: Amount
    quantity_min: Amount
    quantity_max: Amount
    price_max: Amount
    price_band_percent: int
    orders_per_account_max: int
    orders_max: int
    iceberg_slices_max: int
    status: StatusName

    @classmethod
    def of(cls, book: BookMirror) -> Self:
        market = book.units.market
        price, quantity = Decimal(market.tick), Decimal(market.lot)
        amounts = {
            "status": book.status.name.lower(),
            "quantity_min": f"{quantity * market.quantity_min:f}",
            "quantity_max": f"{quantity * market.quantity_max:f}",
            "price_max": f"{price * market.price_max:f}",
        }
        return cls(**copied(market, cls) | amounts)


class Book(Reply, frozen=True):
    market: str
    seq: int
    commit: int
    time: TimeMs
    digest: Digest
    bids: Sequence[Level]
    asks: Sequence[Level]
    checksum: int

    @classmethod
    def of(cls, mirror: BookMirror, depth: int) -> Self:
        return cls.with_levels(mirror, mirror.bids.levels(depth), mirror.asks.levels(depth))

    @classmethod
    def with_levels(cls, mirror: BookMirror, bids: Levels, asks: Levels) -> Self:
        price, quantity = mirror.units.price.text, mirror.units.quantity.text
        return cls(
            mirror.units.market.symbol,
            mirror.number,
            mirror.commit,
            mirror.time_ms,
            mirror.digest.hex(),
            format_levels(bids, price, quantity),
            format_levels(asks, price, quantity),
            mirror.checksum(),
        )


class BookOfPeers(Book, frozen=True):
    """The book; with `?peers=1` also each peer's share of each level."""

    bid_peers: Sequence[Sequence[Share]] | UnsetType = UNSET
    ask_peers: Sequence[Sequence[Share]] | UnsetType = UNSET

    @classmethod
    def grouped(cls, mirror: BookMirror, depth: int, group: int, peers: bool) -> Self:
        """Both sides, merged into steps of `group` ticks. A step never shows a better price than
        its levels have. With `peers` also each peer's share of each step."""
        if group == 1 and not peers:
            return cls.of(mirror, depth)
        bids, asks = _steps(mirror.bids, depth, group), _steps(mirror.asks, depth, -group)
        book = cls.with_levels(mirror, _merged(bids), _merged(asks))
        if not peers:
            return book
        quantity = mirror.units.quantity.text
        bid_peers, ask_peers = (
            [
                shares_of((one for level in levels for one in side.shares(level[0])), quantity)
                for levels in steps.values()
            ]
            for steps, side in ((bids, mirror.bids), (asks, mirror.asks))
        )
        return replace(book, bid_peers=bid_peers, ask_peers=ask_peers)


def _steps(side: SideMirror, depth: int, group: int) -> dict[int, list[protocol.Level]]:
    """The levels of the first `depth` steps of `group` ticks, by step. A negative `group` rounds
    up."""
    steps: dict[int, list[protocol.Level]] = {}
    for level in side.levels(len(side)):
        step = level[0] // group * group
        if step not in steps and len(steps) == depth:
            break
        steps.setdefault(step, []).append(level)
    return steps


def _merged(steps: dict[int, list[protocol.Level]]) -> Levels:
    for step, levels in steps.items():
        yield step, sum(level[1] for level in levels), sum(level[2] for level in levels)


def shares_of(
    shares: Iterable[protocol.Share], quantity: Callable[[int], str]
) -> list[tuple[int, str, int]]:
    """Each peer's share of one or more levels: its number as in ids, displayed quantity, orders."""
    merged: dict[int, tuple[int, int]] = {}
    for member, lots, orders in shares:
        known = merged.get(member, (0, 0))
        merged[member] = (known[0] + lots, known[1] + orders)
    return [
        (member + 1, quantity(lots), orders) for member, (lots, orders) in sorted(merged.items())
    ]


# The mesh


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
    version: str
    level: int
    seat: int | UnsetType = UNSET
    clock_ms: int | UnsetType | None = UNSET


class Candidate(Reply, frozen=True):
    """A key that the proposal would make a member's. It must show the state of a late boundary:
    `shown` is the last one of which it did, `boundary` the newest."""

    name: str
    key: str
    proposal: Id
    shown: int | None
    boundary: int | None


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
    behind: Annotated[int, Meta(description="Commits behind the newest heard of.")]
    refused: int
    unanswered: int
    oldest_pending_ms: int
    role: str
    version: str
    level: int
    level_known: int
    epoch: int
    candidates: list[Candidate]
    peers: list[Peer]

    @classmethod
    def of(cls, mesh: protocol.Mesh, state: str) -> Self:
        is_member = mesh.role == "member"
        own = [is_member and member.name == mesh.peer for member in mesh.members]
        peers = [
            Peer(**copied(member, Peer) | _place(mesh, at) | {"self": own[at]})
            for at, member in enumerate(mesh.members)
        ]
        newest = max((member.commit for member in mesh.members if member.alive), default=0)
        epoch = mesh.epoch
        candidates = [
            Candidate(**copied(each, Candidate) | {"proposal": format_id(each.proposal)})
            for each in (epoch.candidates if epoch else ())
        ]
        changed: Json = {"state": state, "digest": mesh.digest.hex(), "peers": peers}
        changed["behind"] = max(0, newest - mesh.commit)
        changed |= {"epoch": epoch.number if epoch else 0, "candidates": candidates}
        return cls(**copied(mesh, cls) | changed)


def _place(mesh: protocol.Mesh, at: int) -> Json:
    """A member's seat, and its clock before the median of all that are heard."""
    if mesh.epoch is None:
        return {}
    return {"seat": mesh.epoch.seats[at] + 1, "clock_ms": mesh.epoch.clocks_ms[at]}


class State(Book, frozen=True, kw_only=True):
    """The book, its trades and the mesh. Most fields of the mesh are missing until it is known."""

    tick: Amount
    lot: Amount
    trades: list[Trade]
    state: str
    peer: str | None
    mesh: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    quorum: bool
    quorum_size: int | UnsetType = UNSET
    round: int | UnsetType = UNSET
    pending: int
    finality_ms: float | UnsetType = UNSET
    halted: str | UnsetType = UNSET
    alarms: list[str] | UnsetType = UNSET
    catching_up: str | UnsetType = UNSET
    behind: int | UnsetType = UNSET
    refused: int | UnsetType = UNSET
    unanswered: int | UnsetType = UNSET
    oldest_pending_ms: int | UnsetType = UNSET
    role: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    level: int | UnsetType = UNSET
    level_known: int | UnsetType = UNSET
    epoch: int | UnsetType = UNSET
    candidates: list[Candidate] | UnsetType = UNSET
    peers: list[Peer]

    @classmethod
    def whole(cls, mirror: BookMirror, depth: int, mirrors: Mirrors) -> Self:
        """Commit and digest are those of the book: all fields are of one moment."""
        market = mirror.units.market
        mesh: Json = {"state": mirrors.state, "peer": mirrors.peer, "quorum": False}
        mesh |= {"pending": 0, "peers": []}
        if mirrors.mesh is not None:
            mesh = fields_of(Mesh.of(mirrors.mesh, mirrors.state))
        return cls(
            *astuple(Book.of(mirror, depth)),
            tick=market.tick,
            lot=market.lot,
            trades=[Trade.of(trade, mirror.units) for trade in mirror.trades],
            **{name: mesh[name] for name in mesh if name not in Book.__struct_fields__},
        )
