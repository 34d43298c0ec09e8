"""The output of the tap: messages as lines for people, as JSON for programs, or as rates.

Owns the words. A member can write any text into an order: must never pass a control character to a
terminal.
"""

import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine import Cancel, CancelAll, Command, Reduce, Replace, Submit
from peer.client.change_words import change_text, seat_text, vote_text
from peer.client.protocol import format_id
from peer.client.units import Units, units_of
from peer.consensus.block import Block
from peer.membership.epochs import Epoch
from peer.membership.mesh_file import MeshConfig
from peer.network.messages import Heartbeat
from peer.replica.batch import decode_batch
from peer.replica.changes import Approve, Propose, Vote, Withdraw
from peer.replica.handover import Notice, Sealed, Stated
from peer.replica.signed import Own, command_of

Message = Block | Heartbeat | str  # a str says why the message was invalid
ORDERS_KEPT = 100_000  # orders whose market is remembered
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_COMMANDS = (*Command.__args__, *Vote.__args__, *Notice.__args__)
KINDS = ("block", "heartbeat", "epoch", *(kind.__name__.lower() for kind in _COMMANDS))


@dataclass
class Filter:
    """Which messages to show; an empty set shows all."""

    members: frozenset[str] = frozenset()
    markets: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def member(self, name: str) -> bool:
        return not self.members or name in self.members

    def kind(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def command(self, command: Command | Own) -> bool:
        market = getattr(command, "market", "")
        right_market = not self.markets or market in self.markets
        return right_market and (self.kind("block") or self.kind(type(command).__name__.lower()))


class Names:
    """The names of the seats in all epochs that were seen."""

    def __init__(self, config: MeshConfig) -> None:
        self.epoch = Epoch.first(config)  # of the message at hand
        self._newest = 0
        self._by_seat: dict[int, str] = {}
        self.turn(self.epoch)

    def turn(self, epoch: Epoch | None) -> Epoch | None:
        """The next message is of this epoch. Returns it if none was of it, or of a later one, so
        far: the one before has ended."""
        if epoch is not None:
            self.epoch = epoch
        if any(seat.number not in self._by_seat for seat in self.epoch.seats):
            self._by_seat |= {seat.number: seat.name for seat in self.epoch.seats}
        if self.epoch.number <= self._newest:
            return None
        self._newest = self.epoch.number
        return self.epoch

    def of(self, seat: int) -> str:
        return self._by_seat.get(seat) or seat_text(seat)

    def author(self, number: int) -> str:
        """The name of a block's author in its epoch."""
        return self.epoch.seats[number].name

    def rounds(self, beat: Heartbeat) -> Iterator[tuple[str, int]]:
        """The newest round of each member; of none if the heartbeat is of an unknown epoch."""
        if beat.epoch == self.epoch.number:
            yield from zip((seat.name for seat in self.epoch.seats), beat.rounds, strict=True)


class Screen(Protocol):
    def show(self, member: int, message: Message, epoch: Epoch | None = None) -> None:
        """A member, by its seat, has said this in an epoch, by default that of the last message."""
        ...

    def tick(self) -> None:
        """Called a few times a second."""
        ...


class Lines:
    """One line per message, and below a block one per command."""

    def __init__(self, config: MeshConfig, chosen: Filter) -> None:
        self._chosen = chosen
        self._console = Console(soft_wrap=True, highlight=False)
        self._names = Names(config)
        self._first = {market.symbol: market for market in config.markets}
        self._units = {market.symbol: units_of(market) for market in config.markets}
        self._markets: OrderedDict[int, str] = OrderedDict()  # of orders seen

    def show(self, member: int, message: Message, epoch: Epoch | None = None) -> None:
        if (begins := self._names.turn(epoch)) is not None and self._chosen.kind("epoch"):
            self._epoch(begins)
        if not self._chosen.member(self._names.of(member)):
            return
        match message:
            case Block():
                self._block(member, message)
            case Heartbeat() if self._chosen.kind("heartbeat"):
                self._heartbeat(message)
            case str():
                self._line(member, "bad", message)

    def tick(self) -> None:
        pass

    def _block(self, seat: int, block: Block) -> None:
        commands = commands_of(block, seat)
        self._markets.update((c.id, c.market) for c in commands if isinstance(c, Submit))
        while len(self._markets) > ORDERS_KEPT:
            self._markets.popitem(last=False)
        shown = [command for command in commands if self._chosen.command(command)]
        if not shown and not (self._chosen.kind("block") and not self._chosen.markets):
            return
        parents = " ".join(f"{self._names.author(ref.author)}@{ref.round}" for ref in block.parents)
        text = f"round {block.round:>6}  {block.ref.digest[:4].hex()}  on {parents}"
        self._line(seat, "block", text)
        for command in shown:
            words = self._say(command) + (f"  ({command.account})" if command.account else "")
            self._console.print(Text(f"{format_id(command.id):>35}  {_printable(words)}"))

    def _say(self, command: Command | Own) -> str:
        match command:
            case Propose() | Approve() | Withdraw():
                return vote_text(command, self._names.of, self._first)
            case Sealed(epoch=epoch, signatures=signatures):
                return f"certify epoch {epoch} with {len(signatures)} signatures"
            case Stated(key=key, commit=commit):
                return f"candidate {key.hex()[:16]} has the state after commit {commit}"
            case Submit():
                return self._say_order(command)
            case Cancel(order=order):
                return f"cancel {format_id(order)}"
            case CancelAll(market=market, side=side):
                which = " ".join(
                    part for part in (side.name.lower() if side else "", market) if part
                )
                return f"cancel all {which}".rstrip()
            case Reduce(order=order, quantity=quantity):
                return f"reduce {format_id(order)} to {self._amounts(order, quantity, 0)}"
            case Replace(order=order, price=price, quantity=quantity):
                return f"replace {format_id(order)}: {self._amounts(order, quantity, price)}"
        return f"{type(command).__name__.lower()} {command.market}"

    def _amounts(self, order: int, quantity: int, price: int) -> str:
        """Amounts in decimals if the order's market is known, since its Submit was seen."""
        units = self._units.get(self._markets.get(order, ""))
        parts = [_quantity(quantity, units)] if quantity else []
        return " ".join([*parts, *([f"at {_price(price, units)}"] if price else [])])

    def _say_order(self, order: Submit) -> str:
        units = self._units.get(order.market)
        parts = [f"{order.side.name.lower():<4} {_quantity(order.quantity, units)} {order.market}"]
        parts += [f"at {_price(order.price, units)}"] if order.price else ["at market"]
        parts += [f"from {_price(order.stop_price, units)} on"] if order.stop_price else []
        parts += [f"showing {_quantity(order.display, units)}"] if order.display else []
        words = [order.type.name.lower().replace("_", " "), order.tif.name.lower()]
        words += ["post-only"] if order.post_only else []
        return f"{' '.join(parts)}, {' '.join(words)}"

    def _epoch(self, epoch: Epoch) -> None:
        number, commit, level = epoch.number, epoch.origin.commit, epoch.origin.level
        names = ", ".join(seat.name for seat in epoch.seats)
        text = f"{number} begins after commit {commit}, with the rules of level {level}: {names}"
        self._console.print(Text(f"{time.strftime('%H:%M:%S')} {'':>8} {'epoch':<9} {text}"))

    def _heartbeat(self, beat: Heartbeat) -> None:
        rounds = " ".join(f"{name}@{round_}" for name, round_ in self._names.rounds(beat))
        commit, digest = beat.attestation
        state = f" state {digest[:4].hex()}@{commit}" if commit else ""
        self._line(beat.member, "heartbeat", f"commit {beat.commit:>5}  has {rounds}{state}")

    def _line(self, member: int, kind: str, text: str) -> None:
        name = Text(f"{self._names.of(member):>8}", style=_COLOURS[member % len(_COLOURS)])
        now = Text(time.strftime("%H:%M:%S "))
        self._console.print(now, name, Text(f" {kind:<9} {_printable(text)}"), sep="")


class Json:
    """One object per line. Amounts are in ticks and lots, as in the messages; `order` is an id."""

    def __init__(self, config: MeshConfig, chosen: Filter) -> None:
        self._chosen = chosen
        self._names = Names(config)

    def show(self, member: int, message: Message, epoch: Epoch | None = None) -> None:
        if (begins := self._names.turn(epoch)) is not None and self._chosen.kind("epoch"):
            self._epoch(begins)
        if not self._chosen.member(self._names.of(member)):
            return
        match message:
            case Block():
                self._block(member, message)
            case Heartbeat() if self._chosen.kind("heartbeat"):
                rounds = dict(self._names.rounds(message))
                self._line(member, "heartbeat", {"commit": message.commit, "rounds": rounds})
            case str():
                self._line(member, "bad", {"error": message})

    def tick(self) -> None:
        pass

    def _block(self, seat: int, block: Block) -> None:
        shown = [command for command in commands_of(block, seat) if self._chosen.command(command)]
        if not shown and not (self._chosen.kind("block") and not self._chosen.markets):
            return
        data: dict[str, object] = {
            "round": block.round,
            "digest": block.ref.digest.hex(),
            "parents": [
                [self._names.author(r.author), r.round, r.digest.hex()] for r in block.parents
            ],
            "epoch": self._names.epoch.number,
            "time_ms": block.time_ms,
            "bytes": len(block.frame),
            "commands": [{"kind": type(c).__name__.lower()} | _fields(c) for c in shown],
        }
        self._line(seat, "block", data)

    def _epoch(self, epoch: Epoch) -> None:
        origin = epoch.origin
        data = {"epoch": epoch.number, "commit": origin.commit, "level": origin.level}
        names = [seat.name for seat in epoch.seats]
        self._write({"kind": "epoch"} | data | {"seal": epoch.seal.hex(), "members": names})

    def _line(self, member: int, kind: str, data: dict[str, object]) -> None:
        self._write({"peer": self._names.of(member), "kind": kind} | data)

    def _write(self, data: dict[str, object]) -> None:
        line = {"at_ms": time.time_ns() // 1_000_000}
        sys.stdout.buffer.write(msgspec.json.encode(line | data) + b"\n")
        sys.stdout.buffer.flush()


@dataclass
class Rates:
    """The counts of one member."""

    blocks: int = 0
    size: int = 0
    heartbeats: int = 0
    commands: Counter[str] = field(default_factory=Counter)


class Stats:
    """Rates over the last `every_s` seconds, and the numbers of commands by kind since the start.
    On a terminal the table is updated in place, elsewhere each one is printed."""

    def __init__(self, config: MeshConfig, chosen: Filter, every_s: float = 2.0) -> None:
        self._names = Names(config)
        self._chosen = chosen
        self._every_s = every_s
        self._console = Console()
        self._live: Live | None = None
        self._since_s = time.monotonic()
        self._rates: dict[int, Rates] = {}  # by seat, as are the totals
        self._totals: dict[int, Counter[str]] = {}

    def __enter__(self) -> "Stats":
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, member: int, message: Message, epoch: Epoch | None = None) -> None:
        self._names.turn(epoch)
        rates = self._rates.setdefault(member, Rates())
        match message:
            case Block():
                rates.blocks += 1
                rates.size += len(message.frame)
                shown = [c for c in commands_of(message, member) if self._chosen.command(c)]
                rates.commands.update(type(command).__name__.lower() for command in shown)
            case Heartbeat():
                rates.heartbeats += 1

    def tick(self) -> None:
        passed_s = time.monotonic() - self._since_s
        if passed_s < self._every_s:
            return
        table = Table("peer", "blocks/s", "KiB/s", "commands/s", "heartbeats/s", "commands so far")
        for seat in sorted({*self._rates, *(seat.number for seat in self._names.epoch.seats)}):
            rates, name = self._rates.get(seat, Rates()), self._names.of(seat)
            total = self._totals.setdefault(seat, Counter())
            total.update(rates.commands)
            if self._chosen.member(name):
                kinds = ", ".join(f"{k} {v:,}" for k, v in total.most_common())
                figures = (rates.blocks, rates.size / 1024, rates.commands.total())
                cells = [f"{figure / passed_s:.1f}" for figure in (*figures, rates.heartbeats)]
                table.add_row(name, *cells, kinds)
        if self._live is not None:
            self._live.update(table, refresh=True)
        else:
            self._console.print(table)
        self._since_s = time.monotonic()
        self._rates.clear()


def commands_of(block: Block, seat: int) -> list[Command | Own]:
    """The commands in a block of the member in this seat."""
    try:
        entries = decode_batch(block, seat).commands if block.payload else []
    except (msgspec.DecodeError, ValueError):
        return []
    return [command_of(entry) for entry in entries]


def _price(ticks: int, units: Units | None) -> str:
    return units.price.text(ticks) if units else f"{ticks} ticks"


def _quantity(lots: int, units: Units | None) -> str:
    return units.quantity.text(lots) if units else f"{lots} lots"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "�" for each in text)


def _plain(value: object) -> object:
    """A field's value, as JSON can have it."""
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def _fields(command: Command | Own) -> dict[str, object]:
    fields: dict[str, object] = {
        name: _plain(value) for name, value in msgspec.structs.asdict(command).items()
    }
    fields["id"] = format_id(command.id)
    if isinstance(command, Propose):
        fields["changes"] = [change_text(change) for change in command.changes]
    if isinstance(command, Approve | Withdraw):
        fields["proposal"] = format_id(command.proposal)
    if isinstance(command, Cancel | Reduce | Replace):
        fields["order"] = format_id(command.order)
    return fields
