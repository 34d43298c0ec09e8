"""The history a peer keeps for people: trades, and the events of every order.

Owns these tables, their bulk writes and their pruning. Must never read for others: `history_reader`
does, in another process, so that no question delays the node's loop.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from engine import OpenOrder
from peer.replica import execution_record as records
from peer.replica.execution_record import Piece, Record
from peer.replica.trade import MarketTrade
from peer.storage.database import Database, Tables, guarded

ROWS_MAX = 2_000  # collected before they are written
KEEP_MIN = 1_000
PRUNED_MAX = 500  # rows that one pruning step looks at, plus twice the new rows


class Keep(NamedTuple):
    """How much history is kept."""

    trades: int = 10_000_000  # of each market
    events: int = 20_000_000  # events of orders, all markets together


KEEP = Keep()


class _Leaving(NamedTuple):
    """A record that is being pruned, and its orders still to look at. Orders that no other commit
    changed are not among them."""

    number: int
    brought: dict[int, int]
    pieces: list[tuple[int, Piece]]


class HistoryWriter(Tables):
    """The tables for people. `flush` writes all collected rows at once."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._trades: list[tuple[Any, ...]] = []
        self._records: list[tuple[Any, ...]] = []
        self._brought: list[tuple[Any, ...]] = []
        self._touched: list[tuple[Any, ...]] = []
        self._ended: list[tuple[Any, ...]] = []
        self._came = 0  # new rows since the last pruning
        self._has_more = True  # rows to prune, perhaps
        self._leaving: _Leaving | None = None
        self._first_trades: dict[str, int] = {}  # by market
        self._last_trades: dict[str, int] = {}
        self._newest, self._total = self._newest_record()

    @guarded
    def _newest_record(self) -> tuple[int, int]:
        """Its commit and total."""
        query = "SELECT number, total FROM records ORDER BY number DESC LIMIT 1"
        return self._db.execute(query).fetchone() or (0, 0)

    def add_trades(self, market: str, trades: Iterable[MarketTrade]) -> None:
        """Add trades for later questions. A trade that is there already stays: after a crash the
        last ones are derived again."""
        for trade in trades:
            self._trades.append((market, *msgspec.structs.astuple(trade)))
            self._last_trades[market] = trade.number

    def add_record(self, number: int, record: Record, data: bytes) -> None:
        """Add a commit's record and encoding. After a crash the last ones come again."""
        if number <= self._newest:
            return
        brought, touched, ended = records.index_of(record)
        self._newest = number
        self._total += sum(map(len, record.events))
        self._records.append((number, self._total, data))
        self._brought += [(member, id_, number) for member, id_ in brought.items()]
        self._touched += [(id_, number) for id_ in touched]
        self._ended += [(account, number) for account in ended]
        if len(self._touched) + len(self._trades) > ROWS_MAX:
            self.flush()

    @guarded
    def flush(self) -> None:
        """Write the collected rows. They can be derived again until a snapshot has their commits,
        so they need not be durable before."""
        tables = (
            ("trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._trades),
            ("records VALUES (?, ?, ?)", self._records),
            ("brought VALUES (?, ?, ?)", self._brought),
            ("touched VALUES (?, ?, NULL)", self._touched),
            ("ended VALUES (?, ?)", self._ended),
        )
        for table, rows in tables:
            if rows:
                self._database.begin()
                self._db.executemany(f"INSERT OR IGNORE INTO {table}", rows)
                self._came += len(rows)
                rows.clear()

    # Continuing from a snapshot

    @guarded
    def note_gap(self, first: int, last: int) -> None:
        """This peer continues from a snapshot after commit `last`, and has nothing from `first` on.
        `add_open` adds the orders that are open then."""
        self._database.begin(durably=True)
        self._db.execute("INSERT OR IGNORE INTO gaps VALUES (?, ?)", (last, first))
        self._newest = max(self._newest, last)

    @guarded
    def add_open(self, number: int, time_ms: int, orders: Iterable[OpenOrder]) -> None:
        """Add open orders as they are after commit `number`. This peer may not know them."""
        self._database.begin()
        pieces = (
            (order.id, number, records.encode_piece(Piece(time_ms, [], open=order)))
            for order in orders
        )
        self._db.executemany("INSERT OR IGNORE INTO touched VALUES (?, ?, ?)", pieces)

    # Pruning

    @guarded
    def prune(self, keep: Keep, markets: Iterable[str]) -> None:
        """Take a bounded step towards `keep`: the oldest rows go first. Over time more rows go than
        come, and the file's pages are reused."""
        if not (self._came or self._has_more):
            return
        room = PRUNED_MAX + 2 * self._came
        self._came = 0
        more_trades = False
        for market in markets:
            more_trades |= self._prune_trades(market, keep.trades, room)
        while room > 0 and (self._leaving or self._next_leaving(keep.events)):
            room -= self._prune_record(room)
        self._has_more = more_trades or room <= 0

    def _prune_trades(self, market: str, keep: int, room: int) -> bool:
        """Whether there may be more."""
        last = self._edge_trade(market, self._last_trades, "DESC") - keep
        if last < self._edge_trade(market, self._first_trades, "ASC"):
            return False
        query = "SELECT number FROM trades WHERE market = ? AND number <= ? ORDER BY number LIMIT ?"
        rows = self._db.execute(query, (market, last, room)).fetchall()
        last = rows[-1][0] if rows else last
        self._database.begin()
        self._db.execute("DELETE FROM trades WHERE market = ? AND number <= ?", (market, last))
        self._first_trades[market] = last + 1
        return True

    def _edge_trade(self, market: str, known: dict[str, int], order: str) -> int:
        """The number of a market's first or last trade."""
        if market not in known:
            query = f"SELECT number FROM trades WHERE market = ? ORDER BY number {order} LIMIT 1"
            row = self._db.execute(query, (market,)).fetchone()
            if row is None:
                return 0
            known[market] = row[0]
        return known[market]

    def _next_leaving(self, keep: int) -> bool:
        """Start with the oldest record, if it has to go."""
        query = "SELECT number, total, data FROM records ORDER BY number LIMIT 1"
        row = self._db.execute(query).fetchone()
        if row is None or self._total - row[1] < keep:
            return False
        try:
            record = records.decode(row[2])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._database.fail(error) from None
        brought, _, ended = records.index_of(record)
        pieces = records.pieces_of(record).items()
        open_ = [(id_, piece) for id_, piece in pieces if not records.is_whole(piece, id_)]
        self._leaving = _Leaving(row[0], brought, open_)
        self._database.begin()
        rows = [(account, row[0]) for account in ended]
        self._db.executemany("DELETE FROM ended WHERE account = ? AND number = ?", rows)
        return True

    def _prune_record(self, room: int) -> int:
        """Look at up to `room` orders of the record. An order that did not end there keeps the
        record's piece until it is gone. Returns how many orders were looked at."""
        assert self._leaving is not None
        number, brought, pieces = self._leaving
        some = pieces[-room:]
        del pieces[-room:]
        self._database.begin()
        gone = [(id_,) for id_, piece in some if records.ends(piece.events[-1], id_)]
        stay = [
            (id_, number, records.encode_piece(piece))
            for id_, piece in some
            if not records.ends(piece.events[-1], id_)
        ]
        self._db.executemany("DELETE FROM touched WHERE id = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO touched VALUES (?, ?, ?)", stay)
        if not pieces:
            self._leaving = None
            rows = list(brought.items())
            self._db.executemany("DELETE FROM brought WHERE member = ? AND id = ?", rows)
            self._db.execute("DELETE FROM records WHERE number = ?", (number,))
            self._db.execute("DELETE FROM gaps WHERE last <= ?", (number,))
        return len(some) + 1
