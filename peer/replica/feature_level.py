"""Feature levels: the encodings and rules that may differ from one epoch to another.

Owns the levels that this program knows, and what each of them decides. Every decoder and every rule
follows the level of the epoch, never the version of the program. Must never keep state. Pure.

A program knows all levels up to its highest. An epoch has one level, its seal contains it, and the
members activate the next one by vote. So peers of different versions agree: each of them follows
the rules of the epoch in which it stands.

A later level is a subclass that changes what is different. A change of the level, as of members,
takes effect after the last commit of an epoch.
"""

from collections.abc import Sequence

import msgspec

from engine import Command, Event, Exchange
from peer.consensus.block import Block
from peer.replica.batch import Batch, decode_batch, encode_batch
from peer.replica.signed import Item

_encode = msgspec.msgpack.Encoder().encode
_items: msgspec.msgpack.Decoder[Item] = msgspec.msgpack.Decoder(Item)


class UnknownLevelError(ValueError):
    """An epoch follows rules that this program does not know. Says which level to upgrade to."""


class FeatureLevel:
    """Level 1. In a payload of any level the name of a key account is found as bytes: see
    `signed.concerns_keys`."""

    number = 1

    def read(self, block: Block, seat: int | None = None) -> Batch:
        """The commands of a block, see `decode_batch`. msgspec.DecodeError or ValueError if its
        payload is invalid at this level."""
        return decode_batch(block, seat)

    def write(self, first: int, commands: Sequence[bytes]) -> bytes:
        """The payload of commands that `write_command` has encoded."""
        return encode_batch(first, commands)

    def read_command(self, data: bytes) -> Item:
        """A waiting command from the journal, of this level or an earlier one. Raises
        msgspec.DecodeError or UnicodeDecodeError."""
        return _items.decode(data)

    def write_command(self, item: Item) -> bytes:
        return _encode(item)

    def apply(self, exchange: Exchange, commands: Sequence[Command]) -> list[list[Event]]:
        """Apply commands to the market. Returns the events of each."""
        return exchange.apply_batch(commands)

    def migrate(self, exchange: Exchange) -> None:
        """An epoch of this level follows one of the level before, with this state. The digest that
        the members hand over is of the state before this. No order may end here."""


class Levels:
    """The levels that a program knows, from 1 up without a gap."""

    def __init__(self, *known: FeatureLevel) -> None:
        assert [level.number for level in known] == list(range(1, len(known) + 1))
        self._known = known

    @property
    def highest(self) -> int:
        return len(self._known)

    def unknown(self, number: int) -> str:
        """What to do before this program can follow the rules of a level; empty if it can."""
        if 1 <= number <= self.highest:
            return ""
        return (
            f"this program knows level {self.highest} at most: upgrade this peer to at least "
            f"level {number}"
        )

    def of(self, number: int) -> FeatureLevel:
        """UnknownLevelError if this program does not know it."""
        if why := self.unknown(number):
            raise UnknownLevelError(f"the mesh follows the rules of level {number}, and {why}")
        return self._known[number - 1]


LEVELS = Levels(FeatureLevel())
