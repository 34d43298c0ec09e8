"""Past candles of every market, filled in from the journal.

Owns the thread that fills them. Must never hold the mirrors' lock while it reads the journal.
"""

import threading
import time
from collections.abc import Callable

from peer.storage.history_reader import History
from web.market_data.book_mirror import BookMirror
from web.market_data.candles import PastRange
from web.market_data.mirrors import Mirrors

JOURNAL_SECONDS = 1.5  # within this time a trade is in the node's journal
LOOK_SECONDS = 0.25  # between two looks for new markets
STEP_ROWS = 20_000  # trades read at a time
RESTS = 1  # rest after a read, in multiples of its duration


class Backfill:
    """Fills in the candles of every market from the journal, and again after a gap in the trades.
    Reads a little at a time and rests between, so that no other reader has to wait. Calls `on_day`
    with the market, under the mirrors' lock."""

    def __init__(self, history: History, mirrors: Mirrors, on_day: Callable[[str], None]) -> None:
        self._history = history
        self._mirrors = mirrors
        self._on_day = on_day
        # By market: a range that the journal may not have yet, and since when it is missing.
        self._awaited: dict[str, tuple[PastRange, float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backfill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the thread. Waits up to a second for a read in progress."""
        self._stopping.set()
        self._thread.join(1)

    def _run(self) -> None:
        rest_s = LOOK_SECONDS
        while not self._stopping.wait(rest_s):
            with self._mirrors.lock:
                books = [book for book in self._mirrors.books.values() if book.ready]
                missing = [(book, book.candles.missing_past()) for book in books]
            began = time.monotonic()
            filled = [self._step(book, past) for book, past in missing if past is not None]
            took_s = time.monotonic() - began
            rest_s = RESTS * took_s if any(filled) else LOOK_SECONDS

    def _step(self, book: BookMirror, wanted: PastRange) -> bool:
        """Read a part of the range; returns whether that changed the candles."""
        symbol, interval_ms = book.units.market.symbol, wanted.seconds * 1000
        past = self._history.parts(symbol, interval_ms, wanted.below, STEP_ROWS)
        if (not past or past[-1].last != wanted.below - 1) and self._may_come(symbol, wanted):
            return False
        with self._mirrors.lock:
            book.candles.fill(wanted, past)
            self._on_day(symbol)
        return True

    def _may_come(self, symbol: str, wanted: PastRange) -> bool:
        """Whether the journal may still get these trades. If not, this peer never had them: it
        fetched a snapshot instead."""
        now = time.monotonic()
        awaited, since = self._awaited.get(symbol, (None, now))
        if awaited != wanted:
            self._awaited[symbol] = (wanted, now)
            return True
        return now - since < JOURNAL_SECONDS
