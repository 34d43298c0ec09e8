"""Proposals and their changes, in words for people. Owns the words."""

from collections.abc import Iterable, Sequence

from peer.client.protocol import format_id
from peer.replica.changes import (
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


def change_text(change: Change, names: Sequence[str] = ()) -> str:
    """One change. `names` are the members' names by seat."""
    match change:
        case AddMember(name=name, key=key):
            return f"add member {name} with key {key}"
        case RemoveMember(seat=seat):
            return f"remove member {_member(seat, names)}"
        case ReplaceMember(seat=seat, name=name, key=key):
            return f"replace member {_member(seat, names)} by {name} with key {key}"
        case Activate(level=level):
            return f"activate level {level}"
        case AddMarket(market=market):
            return f"add market {market.symbol} with tick {market.tick} and lot {market.lot}"
        case ChangeMarket(symbol=symbol, limits=limits):
            said = ", ".join(f"{name} {value}" for name, value in limits.items())
            return f"change market {symbol}: {said}"
        case CancelAccount(account=account):
            return f"cancel all orders of {account}"
    what = {HaltMarket: "halt", CloseMarket: "close"}.get(type(change), "resume")
    return f"{what} market {change.symbol}"


def changes_text(changes: Iterable[Change], names: Sequence[str] = ()) -> str:
    return "; ".join(change_text(change, names) for change in changes)


def vote_text(vote: Vote, names: Sequence[str] = ()) -> str:
    """A member's command, such as "approve 1-17"."""
    if isinstance(vote, Propose):
        flags = [name for name in ("force", "unsealed") if getattr(vote, name)]
        said = f" ({', '.join(flags)})" if flags else ""
        return f"propose to {changes_text(vote.changes, names)}{said}"
    what = "approve" if isinstance(vote, Approve) else "withdraw"
    return f"{what} {format_id(vote.proposal)}"


def _member(seat: int, names: Sequence[str]) -> str:
    return names[seat] if 0 <= seat < len(names) else f"seat {seat}"
