"""The history in a peer's journal, as a whole, for tests and benchmarks."""

import sqlite3
from contextlib import closing
from pathlib import Path

from peer.replica.trade import MarketTrade
from peer.storage import history_segment as segment
from tests.support.real_mesh import MARKET


def stored_records(journal: Path) -> dict[int, bytes]:
    """The effects of each commit on orders, encoded."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT data FROM segments ORDER BY number").fetchall()
    return {number: data for (row,) in rows for number, data in segment.split(row)}


def stored_trades(journal: Path, market: str = MARKET) -> list[MarketTrade]:
    """The trades of a market, by ascending number."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        query = "SELECT data FROM trades WHERE market = ? ORDER BY number"
        rows = db.execute(query, (market,)).fetchall()
    return [trade for (row,) in rows for trade in segment.decode_trades(row)]
