"""`python -m peer tap`: show the live messages of a mesh.

Owns a subscription to each member, and finds the members as a peer does, from epoch to epoch. It
listens with a key of its own. Must never tell the members anything, nor open a port: it only asks
who they are.
"""

import contextlib
import logging
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import zmq

from discovery.grape import Address, Grape
from discovery.service import Discovery
from discovery.service_tracker import Event as DiscoveryEvent
from discovery.service_tracker import Found, GrapeFound, GrapeLost
from peer.cli.renderers import KINDS, Filter, Json, Lines, Message, Screen, Stats
from peer.consensus.block import FRAME_BYTES_MAX, Block, InvalidBlockError, OtherEpochError
from peer.membership import mesh_file
from peer.membership.block_reader import BlockReader
from peer.membership.epochs import Epoch, ForgedChainError, chain
from peer.membership.identity import Identity, curve_public
from peer.membership.mesh_file import MeshConfig
from peer.network import messages
from peer.network.addresses import AddressBook
from peer.network.authenticator import Authenticator
from peer.network.chain_client import ChainClient
from peer.network.messages import Heartbeat
from peer.process.poller import Poller

EVENTS_MAX = 1_000
DRAIN_MAX = 200  # messages from one address in one turn
SILENCE_S = 5.0  # then it says that it hears nothing


class Listener:
    """The messages of a mesh, as an observer hears them. Members are named by their seats."""

    def __init__(self, config: MeshConfig, grapes: tuple[str, ...]) -> None:
        self.config = config
        identity, self._poller = Identity.ephemeral(), zmq.Poller()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = Authenticator(self._context, config, identity, Poller())
        self._chain = ChainClient(self._context, config.id, self._authenticator)
        self._grapes = grapes
        self._found: queue.Queue[DiscoveryEvent] = queue.Queue(EVENTS_MAX)
        self._epochs: list[Epoch] = []  # all that are known
        self._readers: list[BlockReader] = []
        self._ahead = False  # members are in an epoch that is not known yet
        self._heard_ms = _now_ms()
        self.books: dict[int, AddressBook] = {}
        self._places: dict[int, dict[Address, zmq.Socket[bytes]]] = {}
        self._enter([Epoch.first(config)])

    def __enter__(self) -> "Listener":
        self._discovery.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._discovery.stop()
        self._context.destroy(linger=0)

    def _enter(self, epochs: Iterable[Epoch]) -> None:
        """These epochs follow: listen to the members of the last one, and of the one before it."""
        self._epochs += epochs
        self._readers += map(BlockReader, self._epochs[len(self._readers) :])
        self._keys = {seat.number: seat.key for each in self._epochs[-2:] for seat in each.seats}
        for seat in [seat for seat in self.books if seat not in self._keys]:
            del self.books[seat]
            for socket in self._places.pop(seat).values():
                self._close(socket)
        for seat in self._keys:
            self.books.setdefault(seat, AddressBook(random.Random()))
            self._places.setdefault(seat, {})
        self._services = {self.config.service_of(key): seat for seat, key in self._keys.items()}
        names = [*self._services, self.config.chain_service]
        clients = [Grape([url]) for url in self._grapes]
        self._discovery = Discovery(clients, None, names, self._hand_on, rng=random.Random())

    def messages(self) -> Iterator[tuple[int, Message, Epoch] | None]:
        """Yields the member, its message, or the reason why it was invalid, and the message's
        epoch; None now and then."""
        while True:
            ready = dict(self._poller.poll(100))
            while not self._found.empty():
                self._note(self._found.get())
            for member, places in list(self._places.items()):
                self._follow(member)
                for address, socket in list(places.items()):
                    if socket in ready:
                        for said in self._said(member, address, socket):
                            yield member, *said
            self._follow_chain(_now_ms())
            yield None

    def _follow_chain(self, now_ms: int) -> None:
        """Ask who the members are, if they are others than these."""
        if not self._ahead and now_ms - self._heard_ms < SILENCE_S * 1_000:
            self._chain.rest()
            return
        last = self._epochs[-1]
        self._chain.ask(last.number, now_ms)
        for place, certificates in self._chain.answers():
            fresh = (one for one in certificates if one.origin.number > last.number)
            epochs: list[Epoch] = []
            try:
                epochs.extend(chain(last, fresh))
            except ForgedChainError as error:
                click.echo(f"tap: at {place} is a chain that proves nothing: {error}", err=True)
                self._chain.refuse(place)
            if epochs:
                # It may take a while to stop.
                threading.Thread(target=self._discovery.stop, daemon=True).start()
                self._enter(epochs)
                self._discovery.start()
                self._ahead = False
                names = ", ".join(seat.name for seat in self._epochs[-1].seats)
                click.echo(f"tap: epoch {self._epochs[-1].number}: listening to {names}", err=True)
                return

    def _hand_on(self, event: DiscoveryEvent) -> None:
        with contextlib.suppress(queue.Full):  # discovery will find it again
            self._found.put_nowait(event)

    def _note(self, event: DiscoveryEvent) -> None:
        match event:
            case Found(name, addresses) if name == self.config.chain_service:
                self._chain.found(addresses)
            case Found(name, addresses) if name in self._services:
                self.books[self._services[name]].find(addresses)
            case GrapeLost(_, reason):
                click.echo(f"tap: a Grape does not answer: {reason}", err=True)
            case GrapeFound(grape):
                click.echo(f"tap: the Grape at {grape} answers", err=True)

    def _follow(self, member: int) -> None:
        """Connect to the addresses that the member's address book suggests."""
        turn = self.books[member].turn(_now_ms())
        for address in turn.close:
            self._close(self._places[member].pop(address))
        for address, lasting in turn.connect:
            self._places[member][address] = self._subscribe(member, address, lasting)

    def _close(self, socket: zmq.Socket[bytes]) -> None:
        self._poller.unregister(socket)
        socket.close(linger=0)

    def _subscribe(self, member: int, address: Address, lasting: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SUB)
        socket.maxmsgsize = FRAME_BYTES_MAX
        self._authenticator.join(socket, curve_public(self._keys[member]))
        socket.reconnect_ivl = 100 if lasting else -1
        socket.reconnect_ivl_max = 2_000 if lasting else 0
        socket.subscribe(b"")
        socket.connect(f"tcp://{address}")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _said(
        self, member: int, address: Address, socket: zmq.Socket[bytes]
    ) -> Iterator[tuple[Message, Epoch]]:
        for _ in range(DRAIN_MAX):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            match frames:
                case [b"B", frame]:
                    yield from self._block(frame)
                case [b"H", body]:
                    said, epoch = self._heartbeat(member, body)
                    if isinstance(said, Heartbeat):
                        self._heard_ms = _now_ms()
                        self.books[member].hear(address, self._heard_ms)
                    yield said, epoch
                case [b"S", body] if messages.parse_seal(member, body) is not None:
                    pass  # signatures over the begin of an epoch; blocks contain them too
                case _:
                    yield "neither a block nor a heartbeat", self._epochs[-1]

    def _known(self, epoch: int) -> Epoch | None:
        """None if its members are not known yet."""
        if epoch < len(self._epochs):
            return self._epochs[epoch]
        if not self._ahead:
            click.echo(f"tap: asking who the members of epoch {epoch} are", err=True)
        self._ahead = True
        return None

    def _block(self, frame: bytes) -> Iterator[tuple[Block | str, Epoch]]:
        """Nothing if it is of an epoch whose members are not known yet."""
        epoch = self._epochs[-1]
        try:
            try:
                block = self._readers[-1].read(frame)
            except OtherEpochError as error:
                if (known := self._known(error.epoch)) is None:
                    return
                epoch = known
                block = self._readers[epoch.number].read(frame)
        except InvalidBlockError as error:
            yield f"an invalid block: {error}", epoch
        else:
            yield block, epoch

    def _heartbeat(self, member: int, body: bytes) -> tuple[Heartbeat | str, Epoch]:
        beat = messages.parse_heartbeat(body)
        if beat is None:
            return "a bad heartbeat", self._epochs[-1]
        epoch = self._known(beat.epoch) or self._epochs[-1]
        if not messages.is_of(beat, epoch, member):
            return "a heartbeat of another mesh or member", epoch
        return beat, epoch


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


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
    help="URL of a Grape. Repeatable.",
)
@click.option("--peer", "peers", multiple=True, help="Only messages of this peer. Repeatable.")
@click.option(
    "--market", "markets", multiple=True, help="Only commands in this market. Repeatable."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Only this kind of message. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
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
    """Print the messages between the peers of a mesh as they come."""
    logging.basicConfig()
    logging.getLogger().setLevel(logging.WARNING)
    if as_json and stats:
        raise click.UsageError("--json and --stats do not go together")
    try:
        config = mesh_file.load(file)
    except mesh_file.ConfigError as error:
        raise click.ClickException(f"{error}: start the demo first, or name a --mesh") from None
    chosen = Filter(
        members=frozenset(peers),
        markets=frozenset(markets),
        kinds=frozenset(kinds or set(KINDS) - {"heartbeat"}),
    )
    _warn("peer", peers, [member.name for member in config.members])
    _warn("market", markets, [market.symbol for market in config.markets])
    click.echo(f"tap: listening to {', '.join(m.name for m in config.members)}", err=True)
    with contextlib.ExitStack() as stack:
        screen: Screen
        if stats:
            screen = stack.enter_context(Stats(config, chosen))
        else:
            screen = Json(config, chosen) if as_json else Lines(config, chosen)
        listener = stack.enter_context(Listener(config, grapes))
        _show(listener, screen, chosen)


def _warn(what: str, wanted: tuple[str, ...], names: list[str]) -> None:
    """Name those that were not there at first: they may have come since."""
    for name in wanted:
        if name not in names:
            text = f"no {what} {name!r:.40} was there at first, but {', '.join(names)}"
            click.echo(f"tap: {text}", err=True)


def _show(listener: Listener, screen: Screen, chosen: Filter) -> None:
    """Show messages until Ctrl-C, or until the output is closed."""
    began_s, heard = time.monotonic(), False
    try:
        for message in listener.messages():
            if message is None:
                screen.tick()
            else:
                screen.show(*message)
            heard = heard or message is not None
            if not heard and time.monotonic() - began_s > SILENCE_S:
                click.echo("tap: no message so far: do the peers run?", err=True)
                heard = True
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the exit fails too
