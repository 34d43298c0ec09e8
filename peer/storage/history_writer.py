"""The history a peer keeps for people: trades, and the events of every order.

Owns these tables and their bulk writes. Must never read for others: `history_reader` does, in
another process, so that no question delays the node's loop.
"""

from collections.abc import Iterable, Sequence

import msgspec

from engine import OpenOrder
from peer.replica import execution_record as records
from peer.replica.execution_record import Piece, Record
from peer.replica.trade import MarketTrade
from peer.storage import history_segment as segment
from peer.storage.database import Database, Tables, guarded
from peer.storage.history_segment import Lasts

EVENTS_MAX = 2_000  # collected before they are written, and what one commit adds


class HistoryWriter(Tables):
    """The tables for people. `flush` writes all that was collected at once."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.came = 0  # events and trades written since the last pruning
        self._trades: dict[str, list[MarketTrade]] = {}
        self._records: list[tuple[int, bytes]] = []
        self._touched: set[int] = set()
        self._ended: set[str] = set()
        self._collected = 0  # events and trades
        self._last_trades: dict[str, int] = {}  # by market
        self._newest, self.total, self._lasts = self._newest_segment()

    @guarded
    def _newest_segment(self) -> tuple[int, int, Lasts]:
        """Its commit, its total and its `lasts`."""
        query = "SELECT number, total, lasts FROM segments ORDER BY number DESC LIMIT 1"
        row = self._db.execute(query).fetchone()
        return (row[0], row[1], self._decoded_lasts(row[2])) if row else (0, 0, {})

    def _decoded_lasts(self, data: bytes) -> Lasts:
        try:
            return segment.decode_lasts(data)
        except msgspec.DecodeError as error:
            raise self._database.fail(error) from None

    def add_trades(self, market: str, trades: Iterable[MarketTrade]) -> None:
        """Add trades for later questions, oldest first. One that is there already stays: after a
        crash the last ones are derived again."""
        last = self.last_trade(market)
        new = [trade for trade in trades if trade.number > last]
        if new:
            self._trades.setdefault(market, []).extend(new)
            self._last_trades[market] = new[-1].number
            self._collected += len(new)

    @guarded
    def last_trade(self, market: str) -> int:
        """The number of a market's newest trade here; 0 if there is none."""
        if market not in self._last_trades:
            query = "SELECT data FROM trades WHERE market = ? ORDER BY number DESC LIMIT 1"
            row = self._db.execute(query, (market,)).fetchone()
            try:
                self._last_trades[market] = segment.decode_trades(row[0])[-1].number if row else 0
            except msgspec.DecodeError as error:
                raise self._database.fail(error) from None
        return self._last_trades[market]

    def add_record(self, number: int, record: Record, data: bytes) -> None:
        """Add a commit's record and encoding. After a crash the last ones come again."""
        if number <= self._newest:
            return
        brought, touched, ended = records.index_of(record)
        count = sum(map(len, record.events))
        self._newest = number
        self.total += count
        self._collected += count
        self._records.append((number, data))
        self._lasts.update(brought)
        self._touched |= touched
        self._ended |= ended
        if self._collected > EVENTS_MAX:
            self.flush()

    @guarded
    def flush(self) -> None:
        """Write what was collected. It can be derived again until a snapshot has its commits, so it
        need not be durable before."""
        if not self._collected:
            return
        self._database.begin()
        if self._trades:
            rows = [(market, *_row_of(trades)) for market, trades in self._trades.items()]
            self._db.executemany("INSERT INTO trades VALUES (?, ?, ?, ?)", rows)
        if self._records:
            self._write_segment(self._records[-1][0])
        self.came += self._collected
        self._collected = 0
        for collected in (self._trades, self._records, self._touched, self._ended):
            collected.clear()

    def _write_segment(self, number: int) -> None:
        row = (
            number,
            self.total,
            segment.encode_lasts(self._lasts),
            segment.encode(self._records),
        )
        self._db.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", row)
        if self._touched:
            ids = segment.encode_ids(self._touched)
            self._db.execute("INSERT INTO touched VALUES (?, ?)", (number, ids))
        accounts = [(account, number) for account in self._ended]
        self._db.executemany("INSERT INTO ended VALUES (?, ?)", accounts)

    # Continuing from a snapshot

    @guarded
    def note_gap(self, first: int, last: int) -> None:
        """This peer continues from a snapshot after commit `last`, and has nothing from `first` on.
        `add_open` adds the orders that are open then."""
        self.flush()  # no segment reaches over a gap
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
        self._db.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", pieces)


def _row_of(trades: Sequence[MarketTrade]) -> tuple[int, int, str]:
    return trades[0].number, trades[0].time_ms, segment.encode_trades(list(trades))
