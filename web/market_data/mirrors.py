"""Everything the gateway knows, in one place with one lock.

Owns nothing but the holding: the link's thread writes, the hub's and the web server's threads read,
all of them under `lock`.
"""

import threading

from peer.client.accounts import AccountMirror
from peer.client.protocol import Mesh
from peer.client.units import Units
from peer.replica.order_state import OrderView
from web.market_data.book_mirror import BookMirror


class Mirrors:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._advanced = threading.Condition(self.lock)
        self.books: dict[str, BookMirror] = {}
        self.accounts: dict[str, AccountMirror] = {}
        self.peer: str | None = None  # the node's name
        self.mesh_id = ""  # in hex
        self.mesh: Mesh | None = None
        self.state = "starting"  # then `live`, or `stale` while the node is not heard
        self.commit = 0
        self.round = 0
        self.time_ms = 0
        self.digest = b""

    def units(self, market: str) -> Units | None:
        with self.lock:
            book = self.books.get(market)
            return book.units if book else None

    def note_commit(self, commit: int, round_: int, time_ms: int, digest: bytes) -> None:
        if commit >= self.commit:
            self.commit, self.time_ms, self.digest = commit, time_ms, digest
            self.round = max(round_, self.round)
            self._advanced.notify_all()

    def await_commit(self, commit: int, seconds: float) -> None:
        """Wait until the mirrors show `commit`, so that who asks next sees what was answered."""
        with self._advanced:
            self._advanced.wait_for(lambda: self.commit >= commit, seconds)

    def await_orders(self, account: str, seconds: float) -> AccountMirror | None:
        """An account's orders once they are known; None if that takes too long."""
        with self._advanced:

            def known() -> bool:
                mirror = self.accounts.get(account)
                return mirror is not None and mirror.ready

            return self.accounts[account] if self._advanced.wait_for(known, seconds) else None

    def orders_known(self) -> None:
        with self._advanced:
            self._advanced.notify_all()

    def find_order(self, number: int) -> OrderView | None:
        with self.lock:
            for account in self.accounts.values():
                found = account.open.get(number) or account.finished.get(number)
                if found is not None:
                    return found
        return None

    def restart(self) -> None:
        """The node began anew, or its messages were lost."""
        self.commit = self.round = 0
        for book in self.books.values():
            book.restart()
        for account in self.accounts.values():
            account.restart()
