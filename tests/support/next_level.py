"""A program that knows one more feature level than the product, for tests of an upgrade:
`python -m tests.support.next_level run`.

Its level 2 has another payload, refuses odd prices, and begins with a larger smallest quantity. The
product has no option for this: tests pass levels to its runner.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from engine import Command, Event, Exchange, Reason, Rejected, Submit
from peer.cli.runner import Options, run
from peer.consensus.block import Block
from peer.process import lifeline
from peer.replica.batch import Batch, decode_batch, encode_batch
from peer.replica.feature_level import FeatureLevel, Levels

MARK = b"\x92\x02"  # around a payload of level 2: the array [2, payload]
QUANTITY_MIN = 2


class NextLevel(FeatureLevel):
    number = 2

    def read(self, block: Block, seat: int | None = None) -> Batch:
        if not block.payload.startswith(MARK):
            raise ValueError("expected a payload of level 2")
        payload = msgspec.msgpack.decode(block.payload[len(MARK) :], type=bytes)
        plain = Block(block.ref, block.parents, payload)
        return decode_batch(plain, seat)

    def write(self, first: int, commands: Sequence[bytes]) -> bytes:
        return MARK + msgspec.msgpack.encode(encode_batch(first, commands))

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


@click.group()
def main() -> None:
    """A peer that knows level 2."""


@main.command("run")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--mesh", type=click.Path(path_type=Path), required=True)
@click.option("--grape", "grapes", multiple=True)
@click.option("--at", "places", multiple=True)
@click.option("--port", default=0)
@click.option("--fetch-port", default=0)
@click.option("--exit-with-parent", is_flag=True)
def run_(
    data: Path,
    mesh: Path,
    grapes: tuple[str, ...],
    places: tuple[str, ...],
    port: int,
    fetch_port: int,
    exit_with_parent: bool,
) -> None:
    logging.basicConfig(level=logging.INFO)
    if exit_with_parent:
        lifeline.hold()
    options = Options(data, mesh, grapes, places, port=port, fetch_port=fetch_port)
    run(options, levels=NEXT_LEVELS)


if __name__ == "__main__":
    main(prog_name="python -m tests.support.next_level")
