"""What the members' changes do, and which of them are possible.

Owns how a change of markets reaches the engine. Must never count votes: `governance` does.
"""

from collections.abc import Sequence

from engine import Event, Exchange, Halt, Resume
from peer.replica.changes import CancelAccount, Change, HaltMarket, MemberChange, ResumeMarket
from peer.replica.governance import Proposal


class ChangeRules:
    """`Rules` of `governance` over one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def impossible(self, changes: Sequence[Change]) -> str:
        halted = {symbol: book.halted for symbol, book in self._exchange.books.items()}
        for change in changes:
            if isinstance(change, HaltMarket | ResumeMarket):
                halt = isinstance(change, HaltMarket)
                if change.symbol not in halted:
                    return f"there is no market {change.symbol!r:.40}"
                if halted[change.symbol] is halt:
                    return f"market {change.symbol!r:.40} is {'halted' if halt else 'open'} already"
                halted[change.symbol] = halt
            elif not isinstance(change, MemberChange | CancelAccount):
                return f"{type(change).__name__} is not possible yet"
        return ""

    def waits(self, proposal: Proposal) -> str:
        return "this version of the program cannot change the members or the level yet"

    def carry_out(self, changes: Sequence[Change]) -> list[Event]:
        return [event for change in changes for event in self._carry_out(change)]

    def _carry_out(self, change: Change) -> list[Event]:
        exchange = self._exchange
        if isinstance(change, HaltMarket):
            return exchange.apply(Halt(0, "", change.symbol))
        if isinstance(change, ResumeMarket):
            return exchange.apply(Resume(0, "", change.symbol))
        return []
