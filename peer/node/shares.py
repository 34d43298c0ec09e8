"""How many commands from elsewhere may wait to be ordered: see `Execute.source`.

Owns the counts, by holder: a source, an account, and all key accounts, whose owners may be unknown.
Must never know which commands wait.
"""

from collections import Counter
from collections.abc import Iterable

from peer.client.protocol import Refused
from peer.replica.signed import Item, Signed

PENDING_SOURCE_MAX = 2_000  # from one source
PENDING_ACCOUNT_MAX = 2_000  # of one account
PENDING_KEYS_MAX = 10_000  # of all key accounts
_SHARES = {"from": PENDING_SOURCE_MAX, "of": PENDING_ACCOUNT_MAX, "by": PENDING_KEYS_MAX}

Holders = tuple[str, ...]


def holders_of(entry: Item, source: str) -> Holders:
    """The holders a command counts for; the first word names the limit."""
    if not source:
        return ()
    names = (f"from {source}", f"of {entry.account}")
    return (*names, "by keys") if type(entry) is Signed else names


class Shares:
    def __init__(self) -> None:
        self.held: Counter[str] = Counter()  # commands that wait, by holder

    def refusal(self, new: Iterable[Holders]) -> Refused | None:
        """Why some more commands may not wait."""
        more = Counter(name for holders in new for name in holders)
        for name, count in more.items():
            if self.held[name] + count > _SHARES[name.partition(" ")[0]]:
                text = f"{self.held[name]} commands {name} wait to be ordered already"
                return Refused("too_many_pending", f"{text}: try again later")
        return None

    def hold(self, new: Iterable[Holders]) -> None:
        self.held.update(name for holders in new for name in holders)

    def free(self, holders: Holders) -> None:
        """A command stops waiting."""
        for holder in holders:
            self.held[holder] -= 1
            if not self.held[holder]:
                del self.held[holder]

    def clear(self) -> None:
        self.held.clear()
