"""Changes of the mesh as people write them, turned into those of proposals.

Owns the names of the fields; amounts are decimals, members have names. The command line and the API
read them. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from engine import ACCOUNT_LENGTH_MAX, SYMBOL_LENGTH_MAX, Market
from peer.client.order_input import InvalidInputError
from peer.client.proposal_views import Presence
from peer.client.units import LIMIT_AMOUNTS, AmountError, Units, limit_step, parse_amount, units_of
from peer.replica import changes

Symbol = Annotated[str, Meta(min_length=1, max_length=SYMBOL_LENGTH_MAX)]
Step = Annotated[str, Meta(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$", description="Above zero.")]
Name = Annotated[str, Meta(min_length=1, max_length=32)]
Key = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="An Ed25519 public key in hex.")]


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="change"):
    pass


class _Limits(_Wanted, frozen=True, kw_only=True):
    """Limits of a market. Without a value a new market gets the default."""

    quantity_min: Decimal | None = None
    quantity_max: Decimal | None = None
    price_max: Decimal | None = None
    price_band_percent: int | None = None
    orders_per_account_max: int | None = None
    orders_max: int | None = None
    iceberg_slices_max: int | None = None


class AddMarket(_Limits, frozen=True, kw_only=True, tag="add_market"):
    symbol: Symbol
    tick: Step
    lot: Step


class ChangeMarket(_Limits, frozen=True, kw_only=True, tag="change_market"):
    symbol: Symbol


class HaltMarket(_Wanted, frozen=True, tag="halt_market"):
    symbol: Symbol


class ResumeMarket(_Wanted, frozen=True, tag="resume_market"):
    symbol: Symbol


class CloseMarket(_Wanted, frozen=True, tag="close_market"):
    symbol: Symbol


class CancelAccount(_Wanted, frozen=True, tag="cancel_account"):
    account: Annotated[str, Meta(min_length=1, max_length=ACCOUNT_LENGTH_MAX)]


class AddMember(_Wanted, frozen=True, tag="add_member"):
    name: Name
    key: Key


class RemoveMember(_Wanted, frozen=True, tag="remove_member"):
    member: Name


class ReplaceMember(_Wanted, frozen=True, tag="replace_member"):
    member: Name
    name: Name
    key: Key


class Activate(_Wanted, frozen=True, tag="activate"):
    level: Annotated[int, Meta(ge=1, le=changes.LEVEL_MAX)]


Wanted = (
    AddMarket
    | ChangeMarket
    | HaltMarket
    | ResumeMarket
    | CloseMarket
    | CancelAccount
    | AddMember
    | RemoveMember
    | ReplaceMember
    | Activate
)
_STATES: dict[type, Callable[[str], changes.Change]] = {
    HaltMarket: changes.HaltMarket,
    ResumeMarket: changes.ResumeMarket,
    CloseMarket: changes.CloseMarket,
}


class Known(NamedTuple):
    """What names refer to."""

    markets: Mapping[str, Market]
    members: Sequence[Presence]

    def market(self, symbol: str) -> Market:
        if symbol not in self.markets:
            raise InvalidInputError(
                "symbol", f"must be one of {', '.join(self.markets)}, not {symbol!r:.40}"
            )
        return self.markets[symbol]

    def seat(self, name: str) -> int:
        seats = {member.name: member.seat for member in self.members}
        if name not in seats:
            raise InvalidInputError(
                "member", f"must be one of {', '.join(seats)}, not {name!r:.40}"
            )
        return seats[name]


def change_of(wanted: Wanted, known: Known) -> changes.Change:
    """InvalidInputError if the change is impossible by itself."""
    try:
        return _change_of(wanted, known)
    except InvalidInputError:
        raise
    except ValueError as error:
        raise InvalidInputError("changes", f"must be possible: {error}") from None


def _change_of(wanted: Wanted, known: Known) -> changes.Change:
    match wanted:
        case AddMarket(symbol=symbol, tick=tick, lot=lot):
            market = Market(symbol, tick, lot)
            changes.AddMarket(market)  # ValueError for an impossible tick or lot
            return changes.AddMarket(msgspec.structs.replace(market, **_limits(wanted, market)))
        case ChangeMarket(symbol=symbol):
            return changes.ChangeMarket(symbol, **_limits(wanted, known.market(symbol)))
        case CancelAccount(account=account):
            return changes.CancelAccount(account)
        case AddMember(name=name, key=key):
            return changes.AddMember(name, key)
        case RemoveMember(member=member):
            return changes.RemoveMember(known.seat(member))
        case ReplaceMember(member=member, name=name, key=key):
            return changes.ReplaceMember(known.seat(member), name, key)
        case Activate(level=level):
            return changes.Activate(level)
        case HaltMarket() | ResumeMarket() | CloseMarket():
            return _STATES[type(wanted)](wanted.symbol)


def _limits(wanted: AddMarket | ChangeMarket, market: Market) -> dict[str, int]:
    """The limits that are set, in ticks and lots of the market."""
    units, found = units_of(market), {}
    for name in changes.LIMITS:
        value = getattr(wanted, name)
        if value is not None and name in LIMIT_AMOUNTS:
            now = getattr(market, name) if isinstance(wanted, ChangeMarket) else 0
            value = _amount(name, value, units, now)
        if value is not None:
            found[name] = value
    return found


def _amount(name: str, value: object, units: Units, now: int) -> int:
    """A limit that is an amount, in whole steps; all of these but the smallest quantity may only
    grow."""
    step = limit_step(units, name)
    try:
        count = step.count(parse_amount(value))
    except AmountError as error:
        raise InvalidInputError(name, str(error)) from None
    if count < now and name != "quantity_min":
        text = f"must be at least {step.text(now)}, not {step.text(count)}: it can only increase"
        raise InvalidInputError(name, text)
    return count
