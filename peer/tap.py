"""`python -m peer.tap`: the live message stream of the mesh, readable.

Owns nothing but its screen: it listens like any peer, with a key of its own, and never speaks.
"""

import logging
import queue
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import zmq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from discovery.grape import Address, Grape
from discovery.roster import Event as DiscoveryEvent
from discovery.roster import Joined, Left
from discovery.service import Discovery
from engine.orders import Cancel, CancelAll, Command, Reduce, Replace, Side, Submit
from peer import config as mesh_file
from peer.api import format_id
from peer.block import SIGNATURE_BYTES, Block, InvalidBlock, decode
from peer.config import MeshConfig
from peer.frames import BlockIn, Heard, Heartbeat
from peer.identity import Identity, Verifier
from peer.mesh import Mesh
from peer.replica import decode_batch

EVENTS_MAX = 1_000
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_KINDS = ("block", "heartbeat", *(kind.__name__.lower() for kind in Command.__args__))


@dataclass
class Filter:
    """What to show; empty shows all of its kind."""

    members: frozenset[int] = frozenset()
    markets: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def member(self, number: int) -> bool:
        return not self.members or number in self.members

    def kind(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def command(self, command: Command) -> bool:
        market = getattr(command, "market", "")
        right_market = not self.markets or market in self.markets
        return right_market and (self.kind("block") or self.kind(type(command).__name__.lower()))


@dataclass
class Rates:
    """What was counted of one member."""

    blocks: int = 0
    size: int = 0
    heartbeats: int = 0
    commands: Counter[str] = field(default_factory=Counter)


class Listener:
    """The mesh as somebody hears it who only listens."""

    def __init__(self, config: MeshConfig, grapes: tuple[str, ...]) -> None:
        self.config = config
        self._poller = zmq.Poller()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._mesh = Mesh(self._context, config, Identity.ephemeral(), self._poller)
        self._verifiers = [Verifier(member.public) for member in config.members]
        self._services = {config.service(n): n for n in range(len(config.members))}
        self._found: queue.Queue[DiscoveryEvent] = queue.Queue(EVENTS_MAX)
        self._discovery = Discovery(
            Grape(grapes), None, list(self._services), self._found.put_nowait, rng=random.Random()
        )

    def __enter__(self) -> "Listener":
        self._discovery.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._discovery.stop()
        self._mesh.close()
        self._context.destroy()

    def messages(self) -> Iterator[tuple[int, Block | Heartbeat | str] | None]:
        """The member and what it said, or why that was no message; None now and then."""
        while True:
            self._poller.poll(100)
            while not self._found.empty():
                match self._found.get():
                    case Joined(name, Address() as address):
                        self._mesh.joined(self._services[name], address)
                    case Left(name, address):
                        self._mesh.left(self._services[name], address)
            for message in self._mesh.receive(time.monotonic_ns() // 1_000_000):
                match message:
                    case BlockIn(member, frame):
                        yield member, self._block(frame)
                    case Heard(member, heartbeat):
                        yield member, heartbeat
            yield None

    def _block(self, frame: bytes) -> Block | str:
        try:
            block = decode(frame, self.config.committee)
        except InvalidBlock as error:
            return f"a bad block: {error}"
        signed, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
        good = self._verifiers[block.author].verify(signed, signature)
        return block if good else "a block with a bad signature"


class Printer:
    """Shows messages, as text or as JSON lines."""

    def __init__(self, config: MeshConfig, chosen: Filter, as_json: bool) -> None:
        self._config = config
        self._chosen = chosen
        self._as_json = as_json
        self._console = Console(soft_wrap=True, highlight=False)
        self._names = [member.name for member in config.members]
        self._markets = {market.symbol: market for market in config.markets}

    def show(self, member: int, message: Block | Heartbeat | str) -> None:
        if not self._chosen.member(member):
            return
        match message:
            case Block():
                self._block(message)
            case Heartbeat() if self._chosen.kind("heartbeat"):
                self._heartbeat(message)
            case str():
                self._line(member, "bad", message, {"error": message})

    def _block(self, block: Block) -> None:
        commands = self._commands(block)
        shown = [command for command in commands if self._chosen.command(command)]
        if not shown and not (self._chosen.kind("block") and not self._chosen.markets):
            return
        parents = " ".join(f"{self._names[ref.author]}@{ref.round}" for ref in block.parents)
        text = f"round {block.round:>6}  {block.ref.digest[:4].hex()}  on {parents}"
        data = {
            "round": block.round,
            "digest": block.ref.digest.hex(),
            "parents": [[self._names[r.author], r.round, r.digest.hex()] for r in block.parents],
            "time_ms": block.time_ms,
            "bytes": len(block.frame),
            "commands": [{"kind": type(c).__name__.lower()} | _fields(c) for c in shown],
        }
        self._line(block.author, "block", text, data)
        if not self._as_json:
            for command in shown:
                self._console.print(f"{'':25}{format_id(command.id):>10}  {self._say(command)}")

    @staticmethod
    def _commands(block: Block) -> list[Command]:
        try:
            return decode_batch(block).commands if block.payload else []
        except (msgspec.DecodeError, ValueError):
            return []

    def _say(self, command: Command) -> str:
        match command:
            case Submit():
                return self._say_order(command)
            case Cancel(order=order):
                return f"cancel {format_id(order)} ({command.account})"
            case CancelAll(market=market):
                return f"cancel all of {command.account} {market}"
            case Reduce(order=order, quantity=quantity):
                return f"reduce {format_id(order)} to {quantity} lots ({command.account})"
            case Replace(order=order, price=price, quantity=quantity):
                return f"replace {format_id(order)}: {quantity} lots at {price} ticks"
        return f"{type(command).__name__.lower()} {command.market}"

    def _say_order(self, order: Submit) -> str:
        market = self._markets.get(order.market)
        lot, tick = (market.lot, market.tick) if market else ("1", "1")
        side = "buy " if order.side == Side.BUY else "sell"
        price = f"at {decimal(order.price, tick)}" if order.price else "at market"
        kind = f"{order.type.name.lower().replace('_', ' ')} {order.tif.name.lower()}"
        quantity = decimal(order.quantity, lot)
        return f"{side} {quantity} {order.market} {price}, {kind} ({order.account})"

    def _heartbeat(self, beat: Heartbeat) -> None:
        rounds = " ".join(f"{n}@{r}" for n, r in zip(self._names, beat.rounds, strict=True))
        audit = f" state {beat.audit.digest[:4].hex()}@{beat.audit.commit}" if beat.audit[0] else ""
        text = f"commit {beat.commit:>5}  has {rounds}{audit}"
        data = {"commit": beat.commit, "rounds": dict(zip(self._names, beat.rounds, strict=True))}
        self._line(beat.member, "heartbeat", text, data)

    def _line(self, member: int, kind: str, text: str, data: dict[str, object]) -> None:
        now = time.strftime("%H:%M:%S")
        if self._as_json:
            line = {"at_ms": time.time_ns() // 1_000_000, "peer": self._names[member], "kind": kind}
            sys.stdout.buffer.write(msgspec.json.encode(line | data) + b"\n")
            sys.stdout.buffer.flush()
            return
        name = Text(f"{self._names[member]:>8}", style=_COLOURS[member % len(_COLOURS)])
        self._console.print(Text(f"{now} "), name, Text(f" {kind:<9} {text}"), sep="")


class Stats:
    """Counts messages, and prints rates every `every_s` seconds."""

    def __init__(self, config: MeshConfig, chosen: Filter, every_s: float = 2.0) -> None:
        self._names = [member.name for member in config.members]
        self._chosen = chosen
        self._every_s = every_s
        self._console = Console()
        self._since_s = time.monotonic()
        self._rates = [Rates() for _ in self._names]

    def show(self, member: int, message: Block | Heartbeat | str) -> None:
        rates = self._rates[member]
        match message:
            case Block():
                rates.blocks += 1
                rates.size += len(message.frame)
                for command in Printer._commands(message):
                    rates.commands[type(command).__name__.lower()] += 1
            case Heartbeat():
                rates.heartbeats += 1

    def tick(self) -> None:
        passed_s = time.monotonic() - self._since_s
        if passed_s < self._every_s:
            return
        table = Table("peer", "blocks/s", "KiB/s", "commands/s", "heartbeats/s", "by kind")
        for number, (name, rates) in enumerate(zip(self._names, self._rates, strict=True)):
            if self._chosen.member(number):
                kinds = ", ".join(f"{k} {v / passed_s:.0f}/s" for k, v in rates.commands.items())
                figures = (rates.blocks, rates.size / 1024, rates.commands.total())
                cells = [f"{figure / passed_s:.1f}" for figure in (*figures, rates.heartbeats)]
                table.add_row(name, *cells, kinds)
        self._console.print(table)
        self._since_s = time.monotonic()
        self._rates = [Rates() for _ in self._names]


def decimal(count: int, unit: str) -> str:
    """`count` times a decimal unit, exactly: decimal(150, "0.01") is "1.50"."""
    places = len(unit.partition(".")[2])
    whole, rest = divmod(count * int(unit.replace(".", "")), 10**places)
    return f"{whole}.{rest:0{places}}" if places else str(whole)


def _fields(command: Command) -> dict[str, object]:
    return msgspec.structs.asdict(command) | {"id": format_id(command.id)}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--mesh",
    "file",
    type=click.Path(path_type=Path),
    default=Path(".demo/mesh.toml"),
    help="The mesh file.",
)
@click.option(
    "--grape",
    "grapes",
    multiple=True,
    default=("http://127.0.0.1:30001", "http://127.0.0.1:40001"),
    help="Where the peers meet.",
)
@click.option("--peer", "peers", multiple=True, help="Only this peer's messages; repeat.")
@click.option("--market", "markets", multiple=True, help="Only commands of this market; repeat.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Repeat.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, for pipes.")
@click.option("--stats", is_flag=True, help="Rates instead of messages.")
def main(
    file: Path,
    grapes: tuple[str, ...],
    peers: tuple[str, ...],
    markets: tuple[str, ...],
    kinds: tuple[str, ...],
    as_json: bool,
    stats: bool,
) -> None:
    """Print what the peers of a mesh say to each other, as it happens."""
    logging.basicConfig(level=logging.WARNING)
    try:
        config = mesh_file.load(file)
    except mesh_file.ConfigError as error:
        raise click.ClickException(f"{error}: start the demo first, or name a --mesh") from None
    names = [member.name for member in config.members]
    for name in peers:
        if name not in names:
            raise click.ClickException(f"no peer {name!r} in this mesh: there are {names}")
    chosen = Filter(frozenset(map(names.index, peers)), frozenset(markets), frozenset(kinds))
    if not kinds:
        chosen.kinds = frozenset(_KINDS) - {"heartbeat"}
    screen = Stats(config, chosen) if stats else Printer(config, chosen, as_json)
    with Listener(config, grapes) as listener:
        for message in listener.messages():
            if message is not None:
                screen.show(*message)
            elif isinstance(screen, Stats):
                screen.tick()


if __name__ == "__main__":
    main(prog_name="python -m peer.tap")
