"""Proposals and their changes, in words for people.

Owns the words. A member can write any text into a proposal: must never pass on a control character.
"""

from collections.abc import Callable

from peer.client.protocol import format_id
from peer.replica.batch import seq_and_member
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

NameOf = Callable[[int], str]  # of the member in a seat


def _seat(number: int) -> str:
    return f"seat {number}"


def change_text(change: Change, name_of: NameOf = _seat) -> str:
    said = _said(change, name_of)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in said)


def _said(change: Change, name_of: NameOf) -> str:
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
            return f"add market {market.symbol} with tick {market.tick} and lot {market.lot}"
        case ChangeMarket(symbol=symbol, limits=limits):
            said = ", ".join(f"{name} {value}" for name, value in limits.items())
            return f"change market {symbol}: {said}"
        case CancelAccount(account=account):
            return f"cancel all orders of {account}"
    what = {HaltMarket: "halt", CloseMarket: "close"}.get(type(change), "resume")
    return f"{what} market {change.symbol}"


def vote_text(vote: Vote, name_of: NameOf = _seat) -> str:
    """A member's command, such as "approve 1-17"."""
    if isinstance(vote, Propose):
        flags = [name for name in ("force", "unsealed") if getattr(vote, name)]
        said = f" ({', '.join(flags)})" if flags else ""
        return f"propose to {'; '.join(change_text(c, name_of) for c in vote.changes)}{said}"
    if isinstance(vote, Approve):
        return f"approve {format_id(vote.proposal)}"
    is_own = seq_and_member(vote.id)[1] == seq_and_member(vote.proposal)[1]
    return f"{'withdraw' if is_own else 'reject'} {format_id(vote.proposal)}"
