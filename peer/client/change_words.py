"""Proposals and their changes, in words for people.

Owns the words. A member can write any text into a proposal: must never pass on a control character.
"""

from collections.abc import Callable, Mapping

from engine import Market
from peer.client.protocol import format_id
from peer.client.units import LIMIT_AMOUNTS, limit_step, units_of
from peer.replica.batch import seq_and_member
from peer.replica.changes import (
    LIMITS,
    Activate,
    AddMarket,
    AddMember,
    Approve,
    CancelAccount,
    Change,
    ChangeMarket,
    CloseMarket,
    HaltMarket,
    Propose,
    RemoveMember,
    ReplaceMember,
    Vote,
)

NameOf = Callable[[int], str]  # of the member in a seat
Markets = Mapping[str, Market]  # by symbol


def seat_text(number: int) -> str:
    """People count seats from one, as ids do."""
    return f"seat {number + 1}"


def change_text(change: Change, name_of: NameOf = seat_text, markets: Markets | None = None) -> str:
    """Limits are amounts in the units of their market, if that is among `markets`."""
    said = _said(change, name_of, markets or {})
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in said)


def _said(change: Change, name_of: NameOf, markets: Markets) -> str:
    match change:
        case AddMember(name=name, key=key):
            return f"add member {name} with key {key}"
        case RemoveMember(seat=seat):
            return f"remove member {name_of(seat)}"
        case ReplaceMember(seat=seat, name=name, key=key):
            return f"replace member {name_of(seat)} by {name} with key {key}"
        case Activate(level=level):
            return f"activate level {level}"
        case AddMarket(market=market):
            plain = Market(market.symbol, market.tick, market.lot)
            said = f"add market {market.symbol} with tick {market.tick} and lot {market.lot}"
            limits = {name: getattr(market, name) for name in LIMITS}
            own = {n: limit for n, limit in limits.items() if limit != getattr(plain, n)}
            return f"{said}, {_limits(own, market)}" if own else said
        case ChangeMarket(symbol=symbol, limits=limits):
            return f"change market {symbol}: {_limits(limits, markets.get(symbol))}"
        case CancelAccount(account=account):
            return f"cancel all orders of {account}"
    what = {HaltMarket: "halt", CloseMarket: "close"}.get(type(change), "resume")
    return f"{what} market {change.symbol}"


def _limits(limits: Mapping[str, int], market: Market | None) -> str:
    return ", ".join(f"{name} {_limit(name, value, market)}" for name, value in limits.items())


def _limit(name: str, value: int, market: Market | None) -> str:
    if name not in LIMIT_AMOUNTS:
        return str(value)
    if market is None:
        return f"{value} {'ticks' if LIMIT_AMOUNTS[name] == 'price' else 'lots'}"
    return limit_step(units_of(market), name).text(value)


def vote_text(vote: Vote, name_of: NameOf = seat_text, markets: Markets | None = None) -> str:
    """A member's command, such as "approve 1-17"."""
    if isinstance(vote, Propose):
        flags = [name for name in ("force", "unsealed") if getattr(vote, name)]
        said = f" ({', '.join(flags)})" if flags else ""
        changes = "; ".join(change_text(each, name_of, markets) for each in vote.changes)
        return f"propose to {changes}{said}"
    if isinstance(vote, Approve):
        return f"approve {format_id(vote.proposal)}"
    is_own = seq_and_member(vote.id)[1] == seq_and_member(vote.proposal)[1]
    return f"{'withdraw' if is_own else 'reject'} {format_id(vote.proposal)}"
