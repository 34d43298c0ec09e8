"""What one commit did, as the replica reports it: the events, and which trades are among them."""

from collections.abc import Iterator
from typing import NamedTuple

from engine import Event, Trade
from peer.consensus.committer import Commit
from peer.replica.execution_record import Record
from peer.replica.governance import Proposal
from peer.replica.signed import Item
from peer.replica.trade import MarketTrade


class Applied(NamedTuple):
    """What one commit did."""

    commit: Commit
    ids: list[int]  # of the commands applied, in order
    entries: list[Item]  # these commands
    results: list[list[Event]]  # of each of them
    numbers: list[list[int]]  # of the trades of each of them
    timed: list[Event]  # what the clock did before the first of them
    closing: list[Event]  # what accepted proposals did after the last of them
    done: list[Proposal]  # these proposals
    epoch_end: Proposal | None  # the one of them with which the epoch ends
    trades: dict[str, list[MarketTrade]]  # by market, oldest first
    record: Record | None  # None: nothing happened
    forgers: list[int]  # members that put in commands their accounts' keys did not sign
    firsts: dict[int, int]  # of its orders with a client id: the first one of that name, by id

    def traded(self) -> Iterator[tuple[list[Event], list[MarketTrade]]]:
        """All events and the trades among them: of `timed`, of each of `results`, of `closing`."""
        left = {symbol: iter(trades) for symbol, trades in self.trades.items()}
        for events in (self.timed, *self.results, self.closing):
            yield events, [next(left[event.market]) for event in events if type(event) is Trade]
