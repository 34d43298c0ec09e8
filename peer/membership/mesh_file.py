"""The mesh file: the members, the markets, and the faults that the mesh tolerates.

Owns reading, checking and writing it. Must never hold a secret: members exchange the file.

All members need the same file: the mesh id, which is in every block, is a hash of its content.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec

from engine import MARKETS_MAX, Market
from peer.consensus.committee import MEMBERS_MAX, Committee, Mode
from peer.membership.identity import IdentityError, curve_public, parse_key

_HEAD = b"""# A mesh of p2p-orderbook. Every member runs with this same file.
# mode: crash (faults are stops) or byzantine (members may lie)
# observers: keys that may listen, or any
# admission: vote (the members approve who joins) or open (everybody: only in a trusted network)
"""
PROTOCOL = 9  # version of the rules and encodings that members share; part of the mesh id


class ConfigError(Exception):
    """A mesh file that can't be used. The text says what was expected and what came."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    key: str  # hex Ed25519 public key

    @property
    def public(self) -> bytes:
        return bytes.fromhex(self.key)


class MeshConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mesh file's content. `observers` lists public keys that may listen, or is "any". With open
    admission all nodes approve whoever asks; any of those can halt a mesh in crash mode."""

    name: str
    mode: Mode
    created_ms: int
    members: list[Member]
    markets: list[Market]
    observers: list[str] | Literal["any"] = []
    admission: Literal["vote", "open"] = "vote"

    @property
    def id(self) -> bytes:
        """16 bytes that differ from those of any other mesh or protocol version."""
        agreed = [PROTOCOL, self.name, self.mode, self.created_ms, self.members, self.markets]
        return blake2b(msgspec.msgpack.encode(agreed), digest_size=16).digest()

    @property
    def committee(self) -> Committee:
        return Committee(self.id, len(self.members), self.mode, created_ms=self.created_ms)

    def number_of(self, public: bytes) -> int | None:
        """The number of the member with this key; None if it is no member's."""
        keys = [member.public for member in self.members]
        return keys.index(public) if public in keys else None

    def service(self, number: int) -> str:
        """The name by which a member announces itself to a Grape. An address found there proves
        nothing: only the holder of the member's key can complete the CURVE handshake."""
        return self.service_of(self.members[number].public)

    @property
    def chain_service(self) -> str:
        """The name under which all members announce where newcomers ask who the members are."""
        return f"p2p-orderbook:{self.id.hex()}:chain"

    def service_of(self, key: bytes) -> str:
        """The same for the member with this public key."""
        return f"p2p-orderbook:{self.id.hex()}:{key.hex()[:32]}"


def load(path: Path) -> MeshConfig:
    """Read and check a mesh file."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=MeshConfig)
        check(config)
    except FileNotFoundError:
        raise ConfigError(f"no mesh file at {path}") from None
    except RecursionError:
        raise ConfigError(f"{path}: values nest too deeply") from None
    except (msgspec.MsgspecError, ValueError, IdentityError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def check(config: MeshConfig) -> None:
    """ValueError or IdentityError if a mesh cannot work with this configuration."""
    if not 1 <= len(config.members) <= MEMBERS_MAX:
        raise ValueError(f"expected 1 to {MEMBERS_MAX} members, got {len(config.members)}")
    if not 1 <= len(config.markets) <= MARKETS_MAX:
        raise ValueError(f"expected 1 to {MARKETS_MAX} markets, got {len(config.markets)}")
    _check_unique("member name", [member.name for member in config.members])
    _check_unique("member key", [member.key for member in config.members])
    _check_unique("market", [market.symbol for market in config.markets])
    for member in config.members:
        check_name(member.name)
        curve_public(parse_key(member.key, f"key of {member.name}"))
    for market in config.markets:
        _check_market(market)
    if config.admission == "open" and config.observers != "any":
        raise ValueError('admission = "open" needs observers = "any": who asks must get through')
    for key in config.observers if config.observers != "any" else ():
        curve_public(parse_key(key, "observers"))


def check_name(name: str) -> None:
    """ValueError if no member can have this name."""
    if not (name.isascii() and name.isidentifier() and len(name) <= 32):
        raise ValueError(f"a name is 1 to 32 letters, digits and _, not {name!r:.40}")


def _check_market(market: Market) -> None:
    for what, text in (("tick", market.tick), ("lot", market.lot)):
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal(0)
        if not (value.is_finite() and value > 0):
            raise ValueError(
                f'{market.symbol}: {what} is a decimal above 0 in quotes, not "{text}"'
            )


def _check_unique(what: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"every {what} is there once, {value!r:.70} is there more often")


def write(config: MeshConfig, path: Path) -> None:
    """Write a mesh file; `load` reads the same configuration."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(_HEAD + msgspec.toml.encode(config))
    new.replace(path)  # atomic
