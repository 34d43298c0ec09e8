"""What the history may forget, a little at a time.

Owns how much of the past is kept. Must never forget anything of an order that is still open.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec

from peer.replica import execution_record as records
from peer.replica.execution_record import Piece
from peer.storage import history_segment as segment
from peer.storage import opened_orders
from peer.storage.database import Database, Tables, guarded
from peer.storage.history_writer import HistoryWriter

KEEP_MIN = 1_000
PRUNED_MAX = 500  # orders or trades that one step looks at, plus twice the new events
ROWS_MAX = 500  # of trades, in one step


class Keep(NamedTuple):
    """How much history is kept, and up to one row more."""

    trades: int = 10_000_000  # of each market
    events: int = 20_000_000  # events of orders, all markets together


KEEP = Keep()


class _Leaving(NamedTuple):
    """A segment that is being pruned, and its orders still to look at, with what each commit did to
    them. Orders that one commit began and ended are not among them."""

    number: int
    orders: list[tuple[int, list[tuple[int, Piece]]]]


class HistoryPruner(Tables):
    def __init__(self, database: Database, writer: HistoryWriter) -> None:
        super().__init__(database)
        self._writer = writer
        self._has_more = True  # to prune, perhaps
        self._leaving: _Leaving | None = None
        self._next_trades: dict[
            str, int
        ] = {}  # by market: the first that are not needed to go next

    @guarded
    def prune(self, keep: Keep, markets: Iterable[str]) -> None:
        """Take a bounded step towards `keep`: the oldest rows go first. Over time more goes than
        comes, and the file's pages are reused."""
        came, self._writer.came = self._writer.came, 0
        if not (came or self._has_more):
            return
        room = PRUNED_MAX + 2 * came
        more_trades = [self._prune_trades(market, keep.trades, room) for market in markets]
        while room > 0 and (self._leaving or self._next_leaving(keep.events)):
            room -= self._prune_segment(room)
        self._has_more = any(more_trades) or room <= 0

    def _prune_trades(self, market: str, keep: int, room: int) -> bool:
        """Whether there may be more. A row goes once the first trade of the next one is not among
        the newest `keep`, or the last that is not."""
        oldest = self._writer.last_trade(market) - keep + 1
        if oldest < self._next_trades.get(market, 2):
            return False
        query = "SELECT number FROM trades WHERE market = ? ORDER BY number LIMIT ?"
        rows = self._db.execute(query, (market, ROWS_MAX)).fetchall()
        firsts = [number for (number,) in rows]
        ends = [end for _, end in pairwise(firsts) if end <= oldest]
        if not ends:
            self._next_trades[market] = firsts[1] if len(firsts) > 1 else oldest + 1
            return False
        end = max((end for end in ends if end <= firsts[0] + room), default=ends[0])
        self._database.begin()
        self._db.execute("DELETE FROM trades WHERE market = ? AND number < ?", (market, end))
        return True

    def _next_leaving(self, keep: int) -> bool:
        """Start with the oldest segment, if it has to go."""
        query = "SELECT number, total, data FROM segments ORDER BY number LIMIT 1"
        row = self._db.execute(query).fetchone()
        if row is None or self._writer.total - row[1] < keep:
            return False
        try:
            found = segment.decode(row[2])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._database.fail(error) from None
        orders: dict[int, list[tuple[int, Piece]]] = {}
        accounts: set[str] = set()
        for number, record in found:
            accounts |= records.index_of(record).ended
            for id_, piece in records.pieces_of(record).items():
                if not records.is_whole(piece, id_):
                    orders.setdefault(id_, []).append((number, piece))
        self._leaving = _Leaving(row[0], list(orders.items()))
        self._database.begin()
        rows = [(account, row[0]) for account in accounts]
        self._db.executemany("DELETE FROM ended WHERE account = ? AND number = ?", rows)
        return True

    def _prune_segment(self, room: int) -> int:
        """Look at up to `room` orders of the segment. What it did to an order that did not end
        there is kept until that is gone. Returns how many orders were looked at."""
        assert self._leaving is not None
        number, orders = self._leaving
        some = orders[-room:]
        del orders[-room:]
        self._database.begin()
        gone: list[int] = []
        stay: list[tuple[int, int, bytes]] = []
        for id_, pieces in some:
            if records.ends(pieces[-1][1].events[-1], id_):
                gone.append(id_)
            else:
                stay += [(id_, commit, records.encode_piece(piece)) for commit, piece in pieces]
        self._db.executemany("DELETE FROM touched WHERE id = ?", [(id_,) for id_ in gone])
        opened_orders.forget(self._db, gone)
        self._db.executemany("INSERT OR REPLACE INTO touched VALUES (?, ?, ?)", stay)
        if not orders:
            self._leaving = None
            for table in ("segments", "touched_soon"):
                self._db.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
            self._db.execute("DELETE FROM gaps WHERE last <= ?", (number,))
        return len(some) + 1
