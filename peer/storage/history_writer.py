"""The history a peer keeps for people: trades, and the events of every order.

Owns these tables and their bulk writes. Must never read for others: `history_reader` does, in
another process, so that no question delays the node's loop.
"""

from collections.abc import Iterable, Sequence

import msgspec

from peer.replica import execution_record as records
from peer.replica.execution_record import MEMBERS_SPACE, Record
from peer.replica.trade import MarketTrade
from peer.storage import history_segment as segment
from peer.storage import opened_orders
from peer.storage.database import Database, Tables, guarded
from peer.storage.history_segment import SEARCHED_EVENTS, Lasts

EVENTS_MAX = 2_000  # collected before they are written, and what one commit adds
_STEP = SEARCHED_EVENTS // 3


class HistoryWriter(Tables):
    """The tables for people. `flush` writes all that was collected at once."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.came = 0  # events and trades written since the last pruning
        self._trades: dict[str, list[MarketTrade]] = {}
        self._records: list[tuple[int, bytes]] = []
        self._touched: set[int] = set()  # soon after they came
        self._late: list[tuple[int, int]] = []
        self._ended: set[str] = set()
        self._collected = 0  # events and trades
        self._last_trades: dict[str, int] = {}  # by market
        self._newest, self.total, self._lasts = self._restored()
        # Orders up to the first of these came long ago. The second replaces it later.
        self._old = self._next_old = dict(self._lasts)
        self._next_old_total = self.total

    @guarded
    def _restored(self) -> tuple[int, int, Lasts]:
        """The commit and the total of the newest segment, and the newest order of each member."""
        query = "SELECT number, total, lasts FROM segments ORDER BY number DESC LIMIT 1"
        number, total, data = self._db.execute(query).fetchone() or (0, 0, b"\x80")
        try:
            lasts = segment.decode_lasts(data)
        except msgspec.DecodeError as error:
            raise self._database.fail(error) from None
        query = f"SELECT id % {MEMBERS_SPACE}, max(id) FROM touched GROUP BY 1"
        for member, id_ in self._db.execute(query):
            lasts[member] = max(lasts.get(member, 0), id_)
        return number, total, lasts

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

    def add_record(self, number: int, record: Record) -> None:
        """Add a commit's record. After a crash the last ones come again."""
        if number <= self._newest:
            return
        brought, touched, ended = records.index_of(record)
        self._note_old()
        count = sum(map(len, record.events))
        self._newest = number
        self.total += count
        self._collected += count
        self._records.append((number, records.encode(record)))
        self._lasts.update(brought)
        old = self._old
        late = {id_ for id_ in touched if id_ <= old.get(id_ % MEMBERS_SPACE, 0)}
        self._touched |= touched - late if late else touched
        self._late += [(id_, number) for id_ in late]
        self._ended |= ended
        if self._collected > EVENTS_MAX:
            self.flush()

    def _note_old(self) -> None:
        """An order that is not old came at most three steps ago: SEARCHED_EVENTS."""
        since = self.total - self._next_old_total
        if since >= _STEP:
            self._old = self._next_old if since < 2 * _STEP else dict(self._lasts)
            self._next_old, self._next_old_total = dict(self._lasts), self.total

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
        every = (self._trades, self._records, self._touched, self._late, self._ended)
        for collected in every:
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
            self._db.execute("INSERT INTO touched_soon VALUES (?, ?)", (number, ids))
        self._db.executemany("INSERT INTO touched VALUES (?, ?, NULL)", self._late)
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
    def add_open(
        self, number: int, time_ms: int, ids: Sequence[int], pieces: Iterable[tuple[int, bytes]]
    ) -> None:
        """Add open orders as they are after commit `number`, in pieces. This peer may not know
        them."""
        self._database.begin()
        for member, newest in {id_ % MEMBERS_SPACE: id_ for id_ in sorted(ids)}.items():
            self._lasts[member] = max(self._lasts.get(member, 0), newest)
        opened_orders.add(self._db, number, time_ms, pieces)
        row = number, self.total, segment.encode_lasts(self._lasts), segment.encode([])
        self._db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", row)


def _row_of(trades: Sequence[MarketTrade]) -> tuple[int, int, str]:
    return trades[0].number, trades[0].time_ms, segment.encode_trades(list(trades))
