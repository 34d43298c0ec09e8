"""A feature level that the product does not have, for tests of an upgrade.

Its level 2 has other encodings of commands and payloads, refuses odd prices, and begins with a
larger smallest quantity.
"""

from collections.abc import Sequence

import msgspec

from engine import Command, Event, Exchange, Reason, Rejected, Submit
from peer.consensus.block import Block
from peer.replica.batch import Batch, decode_batch, encode_batch
from peer.replica.feature_level import FeatureLevel, Levels
from peer.replica.signed import Item

MARK = b"\x92\x02"  # around a payload or a command of level 2: the array [2, ...]
QUANTITY_MIN = 2


class NextLevel(FeatureLevel):
    number = 2

    def read(self, block: Block, seat: int | None = None) -> Batch:
        if not block.payload.startswith(MARK):
            raise ValueError("expected a payload of level 2")
        payload = msgspec.msgpack.decode(block.payload[len(MARK) :], type=bytes)
        return decode_batch(Block(block.ref, block.parents, payload), seat)

    def write(self, first: int, commands: Sequence[bytes]) -> bytes:
        plain = [command.removeprefix(MARK) for command in commands if command.startswith(MARK)]
        return MARK + msgspec.msgpack.encode(encode_batch(first, plain))

    def read_command(self, data: bytes) -> Item:
        return super().read_command(data.removeprefix(MARK))

    def write_command(self, item: Item) -> bytes:
        return MARK + super().write_command(item)

    def apply(self, exchange: Exchange, commands: Sequence[Command]) -> list[list[Event]]:
        return [self._apply(exchange, command) for command in commands]

    @staticmethod
    def _apply(exchange: Exchange, command: Command) -> list[Event]:
        if isinstance(command, Submit) and command.price % 2:
            return [Rejected(command.id, command.account, Reason.INVALID_PRICE)]
        return exchange.apply(command)

    def migrate(self, exchange: Exchange) -> None:
        for symbol in exchange.markets():
            market = exchange.market(symbol)
            exchange.change_market(msgspec.structs.replace(market, quantity_min=QUANTITY_MIN))


NEXT_LEVELS = Levels(FeatureLevel(), NextLevel())
