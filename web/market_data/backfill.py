"""The candles of every market's past, filled from the journal.

Owns the thread that does it, as soon as a market is known. Must never hold the mirrors' lock while
it waits for a disk.
"""

import threading
import time
from collections.abc import Callable

from peer.storage.history_reader import History
from web.market_data.book_mirror import BookMirror
from web.market_data.candles import Wish
from web.market_data.mirrors import Mirrors

JOURNAL_SECONDS = 0.5  # the node's journal has a trade no later than this
LOOK_SECONDS = 0.25  # how soon a market that became known is noticed
STEP_ROWS = 20_000  # trades that are read at a time
RESTS = 1  # times as long as it read


class Recall:
    """Fills the candles of every market from the journal, after a loss of messages again; a little
    at a time, so that nobody waits for it and the journal rests between. `on_day` is told of the
    market, under the mirrors' lock."""

    def __init__(self, history: History, mirrors: Mirrors, on_day: Callable[[str], None]) -> None:
        self._history = history
        self._mirrors = mirrors
        self._on_day = on_day
        self._doubted: dict[str, tuple[Wish, float]] = {}  # what the journal may not have yet
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Gives up the last question only when it is answered."""
        self._stopping.set()
        self._thread.join(1)

    def _run(self) -> None:
        rest_s = LOOK_SECONDS
        while not self._stopping.wait(rest_s):
            with self._mirrors.lock:
                books = [book for book in self._mirrors.books.values() if book.ready]
                wishes = [(book, book.candles.wants_past()) for book in books]
            began = time.monotonic()
            went_on = [self._step(book, wish) for book, wish in wishes if wish is not None]
            took_s = time.monotonic() - began
            rest_s = RESTS * took_s if any(went_on) else LOOK_SECONDS

    def _step(self, book: BookMirror, wish: Wish) -> bool:
        """Whether something of the wish was fulfilled."""
        symbol, interval_ms = book.units.market.symbol, wish.seconds * 1000
        past = self._history.parts(symbol, interval_ms, wish.below, STEP_ROWS)
        if (not past or past[-1].last != wish.below - 1) and self._may_come(symbol, wish):
            return False
        with self._mirrors.lock:
            book.candles.fill(wish, past)
            self._on_day(symbol)
        return True

    def _may_come(self, symbol: str, wish: Wish) -> bool:
        """Whether the journal may still get what is missing. Later it is clear that this peer never
        had it: it came by a snapshot."""
        now = time.monotonic()
        doubted, since = self._doubted.get(symbol, (None, now))
        if doubted != wish:
            self._doubted[symbol] = (wish, now)
            return True
        return now - since < JOURNAL_SECONDS
