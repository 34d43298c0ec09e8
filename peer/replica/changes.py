"""Changes of the mesh and its markets, and the commands by which members propose and approve them.

Owns the types and which fields are possible. Must never know whether a change can take effect:
`governance` and the replica do. Pure.

These commands stand beside the others in a member's own blocks. The author of the block is the
voter, so they need no signature of their own, and no client can send one.
"""

import re
from collections.abc import Iterable

import msgspec

from engine import ACCOUNT_LENGTH_MAX, SYMBOL_LENGTH_MAX, Market, check_market
from peer.membership.identity import IdentityError, curve_public, parse_key
from peer.membership.mesh_file import check_name

_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:\-]*", re.ASCII)  # in URLs, topics and log lines
CHANGES_MAX = 8  # in one proposal
LEVEL_MAX = 2**16
SEATS_MAX = 2**16


class _Change(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind"
):
    pass


class AddMember(_Change, frozen=True, tag=0):
    """A new seat. Fields as in the mesh file."""

    name: str
    key: str

    def __post_init__(self) -> None:
        _check_member(self.name, self.key)


class RemoveMember(_Change, frozen=True, tag=1):
    seat: int

    def __post_init__(self) -> None:
        _check_seat(self.seat)


class ReplaceMember(_Change, frozen=True, tag=2):
    """Remove a seat and add a new one in one step."""

    seat: int
    name: str
    key: str

    def __post_init__(self) -> None:
        _check_seat(self.seat)
        _check_member(self.name, self.key)


class Activate(_Change, frozen=True, tag=3):
    """From the next epoch on, the rules of this feature level."""

    level: int

    def __post_init__(self) -> None:
        if not 1 <= self.level <= LEVEL_MAX:
            raise ValueError(f"a level is from 1 to {LEVEL_MAX}, not {self.level}")


class AddMarket(_Change, frozen=True, tag=4):
    market: Market

    def __post_init__(self) -> None:
        check_market(self.market)
        if not _SYMBOL.fullmatch(self.market.symbol):
            text = "a symbol has letters, digits and . _ - + :, and begins with a letter or a digit"
            raise ValueError(f"{text}, not {self.market.symbol!r:.40}")

    @property
    def symbol(self) -> str:
        return self.market.symbol


class _OfMarket(_Change, frozen=True):
    symbol: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.symbol) <= SYMBOL_LENGTH_MAX:
            raise ValueError(f"a symbol has 1 to {SYMBOL_LENGTH_MAX} characters: {self.symbol!r}")


class ChangeMarket(_OfMarket, frozen=True, tag=5):
    """New limits of a market; None leaves one as it is. `Exchange.change_market` says which changes
    are possible."""

    quantity_min: int | None = None
    quantity_max: int | None = None
    price_max: int | None = None
    price_band_percent: int | None = None
    orders_per_account_max: int | None = None
    orders_max: int | None = None
    iceberg_slices_max: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.limits:
            raise ValueError(f"a change of {self.symbol!r} names a limit, got none")

    @property
    def limits(self) -> dict[str, int]:
        """The new limits, by their names in `Market`."""
        values = msgspec.structs.asdict(self)
        return {name: values[name] for name in LIMITS if values[name] is not None}

    def of(self, market: Market) -> Market:
        """The market with the new limits."""
        return msgspec.structs.replace(market, **self.limits)


LIMITS = tuple(name for name in ChangeMarket.__struct_fields__ if name != "symbol")


class HaltMarket(_OfMarket, frozen=True, tag=6):
    pass


class ResumeMarket(_OfMarket, frozen=True, tag=7):
    pass


class CloseMarket(_OfMarket, frozen=True, tag=8):
    """Cancel all orders of a market. Nobody trades there again."""


class CancelAccount(_Change, frozen=True, tag=9):
    """Cancel all open orders of an account, in all markets."""

    account: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.account) <= ACCOUNT_LENGTH_MAX:
            raise ValueError(f"an account has 1 to {ACCOUNT_LENGTH_MAX} characters")


MemberChange = AddMember | RemoveMember | ReplaceMember | Activate
MarketChange = AddMarket | ChangeMarket | HaltMarket | ResumeMarket | CloseMarket | CancelAccount
Change = MemberChange | MarketChange


def ends_epoch(changes: Iterable[Change]) -> bool:
    """Whether the changes are of members or of the level, so that a new epoch begins with them."""
    return any(isinstance(change, MemberChange) for change in changes)


def leaves(changes: Iterable[Change], seat: int) -> bool:
    """Whether the changes are that the member in this seat leaves, and nothing else."""
    return tuple(changes) == (RemoveMember(seat),)


class _Vote(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag_field="kind"
):
    id: int  # of the command: the node assigns it

    @property
    def account(self) -> str:
        """A vote is its member's, and so no account's."""
        return ""


class Propose(_Vote, frozen=True, tag=18):
    """A proposal of 1 to CHANGES_MAX changes, accepted as one. Its id is that of the command."""

    changes: tuple[Change, ...]
    force: bool = False  # also if too few members of the new epoch are present
    unsealed: bool = False  # also if the last epoch's end is not certified yet

    def __post_init__(self) -> None:
        if not 1 <= len(self.changes) <= CHANGES_MAX:
            text = f"a proposal has 1 to {CHANGES_MAX} changes, not {len(self.changes)}"
            raise ValueError(text)


class Approve(_Vote, frozen=True, tag=19):
    """It also states the highest level of rules that the voter's program knows: its node fills that
    in."""

    proposal: int
    epoch: int
    level: int = 1


class Withdraw(_Vote, frozen=True, tag=20):
    """By its proposer: the proposal is over. By another member: it is against the proposal."""

    proposal: int


Vote = Propose | Approve | Withdraw
VOTES = frozenset((Propose, Approve, Withdraw))


def _check_seat(seat: int) -> None:
    if not 0 <= seat < SEATS_MAX:
        raise ValueError(f"a seat is from 0 to {SEATS_MAX - 1}, not {seat}")


def _check_member(name: str, key: str) -> None:
    check_name(name)
    try:
        public = parse_key(key, f"key of {name}")
        curve_public(public)
    except IdentityError as error:
        raise ValueError(str(error)) from None
    if key != public.hex():
        raise ValueError(f"key of {name}: expected 64 lower-case hex digits without spaces")
