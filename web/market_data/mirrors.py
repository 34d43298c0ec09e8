"""All mirrors of the gateway, with one lock.

The link's thread writes; the threads of the hub and the web server read; all of them hold `lock`.
"""

import threading

from peer.client.accounts import AccountMirror
from peer.client.protocol import Mesh, Proposals
from peer.client.units import Units
from peer.replica.order_state import OrderView
from web.market_data.book_mirror import BookMirror


class Mirrors:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._orders_came = threading.Condition(self.lock)
        self.books: dict[str, BookMirror] = {}
        self.accounts: dict[str, AccountMirror] = {}
        self.peer: str | None = None  # the node's name
        self.mesh_id = ""  # in hex
        self.mesh: Mesh | None = None
        self.proposals: Proposals | None = None
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
        self.commit, self.round, self.time_ms, self.digest = commit, round_, time_ms, digest

    def await_orders(self, account: str, seconds: float) -> AccountMirror | None:
        """Wait up to `seconds` for an account's orders; None if they do not come."""
        with self._orders_came:

            def known() -> bool:
                mirror = self.accounts.get(account)
                return mirror is not None and mirror.ready

            return self.accounts[account] if self._orders_came.wait_for(known, seconds) else None

    def orders_known(self) -> None:
        with self._orders_came:
            self._orders_came.notify_all()

    def find_order(self, number: int) -> OrderView | None:
        with self.lock:
            for account in self.accounts.values():
                found = account.open.get(number) or account.finished.get(number)
                if found is not None:
                    return found
        return None
