"""What the members' changes do, and which of them are possible.

Owns how a change of markets reaches the engine. Must never count votes: `governance` does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from engine import (
    Event,
    Exchange,
    Halt,
    Market,
    MarketError,
    MarketStatus,
    Resume,
    check_added,
    check_changed,
)
from peer.replica.changes import (
    AddMarket,
    CancelAccount,
    Change,
    ChangeMarket,
    CloseMarket,
    HaltMarket,
    MemberChange,
    ResumeMarket,
)
from peer.replica.governance import Proposal
from peer.replica.members import Members


class ChangeRules:
    """`Rules` of `governance` over one exchange and its members. `present` gives the seats that are
    present, `levels` the levels that members know, by seat."""

    def __init__(
        self,
        exchange: Exchange,
        members: Members,
        present: Callable[[], Collection[int]],
        levels: Callable[[], Mapping[int, int]],
    ) -> None:
        self.exchange = exchange
        self._members = members
        self._present = present
        self._levels = levels

    def impossible(self, changes: Sequence[Change]) -> str:
        if why := self._members.impossible(changes):
            return why
        plan = _Plan(self.exchange)
        try:
            for change in changes:
                plan.take(change)
        except MarketError as error:
            return str(error)
        return ""

    def waits(self, proposal: Proposal) -> str:
        present = self._present()
        why = self._members.waits(proposal, present)
        return why or self._members.waits_for_level(proposal, present, self._levels())

    def carry_out(self, changes: Sequence[Change]) -> list[Event]:
        return [event for change in changes for event in self._carry_out(change)]

    def _carry_out(self, change: Change) -> list[Event]:
        exchange = self.exchange
        match change:
            case AddMarket(market=market):
                return exchange.add_market(market)
            case ChangeMarket(symbol=symbol):
                return exchange.change_market(change.of(exchange.market(symbol)))
            case HaltMarket(symbol=symbol):
                return exchange.apply(Halt(0, "", symbol))
            case ResumeMarket(symbol=symbol):
                return exchange.apply(Resume(0, "", symbol))
            case CloseMarket(symbol=symbol):
                return exchange.close_market(symbol)
            case CancelAccount(account=account):
                return exchange.cancel_account(account)
        return []  # of members or the level


class _Plan:
    """The markets as they would be after some changes."""

    def __init__(self, exchange: Exchange) -> None:
        self._statuses = exchange.markets()
        self._markets = {symbol: exchange.market(symbol) for symbol in self._statuses}

    def take(self, change: Change) -> None:
        """MarketError if it is impossible after the changes before it."""
        match change:
            case AddMarket(market=market):
                check_added(market, self._statuses)
                self._markets[market.symbol] = market
                self._statuses[market.symbol] = MarketStatus.OPEN
            case ChangeMarket(symbol=symbol):
                before = self._market(symbol)
                check_changed(before, change.of(before))
                self._markets[symbol] = change.of(before)
            case HaltMarket(symbol=symbol):
                self._turn(symbol, MarketStatus.HALTED)
            case ResumeMarket(symbol=symbol):
                self._turn(symbol, MarketStatus.OPEN)
            case CloseMarket(symbol=symbol):
                self._turn(symbol, MarketStatus.CLOSED)
            case _:
                assert isinstance(change, CancelAccount | MemberChange)

    def _market(self, symbol: str) -> Market:
        if self._statuses.get(symbol, MarketStatus.CLOSED) is MarketStatus.CLOSED:
            raise MarketError(f"expected a market that is not closed, got {symbol!r}")
        return self._markets[symbol]

    def _turn(self, symbol: str, status: MarketStatus) -> None:
        self._market(symbol)
        if self._statuses[symbol] is status:
            raise MarketError(f"{symbol}: the market is {status.name.lower()} already")
        self._statuses[symbol] = status
