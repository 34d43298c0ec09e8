"""`python -m peer tap`: show the live messages of a mesh.

Owns a subscription to each member, and finds the members as a peer does. It listens with a key of
its own. Must never send a message or open a port.
"""

import contextlib
import logging
import os
import queue
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import zmq

from discovery.grape import Address, Grape
from discovery.service import Discovery
from discovery.service_tracker import Event as DiscoveryEvent
from discovery.service_tracker import Found, GrapeFound, GrapeLost
from peer.cli.renderers import KINDS, Filter, Json, Lines, Message, Screen, Stats
from peer.consensus.block import FRAME_BYTES_MAX, Block, InvalidBlockError
from peer.membership import mesh_file
from peer.membership.block_reader import BlockReader
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity, curve_public
from peer.membership.mesh_file import MeshConfig
from peer.network import messages
from peer.network.addresses import AddressBook
from peer.network.messages import Heartbeat

EVENTS_MAX = 1_000
DRAIN_MAX = 200  # messages from one address in one turn
SILENCE_S = 5.0  # then it says that it hears nothing


class Listener:
    """The messages of a mesh, as an observer hears them."""

    def __init__(self, config: MeshConfig, grapes: tuple[str, ...]) -> None:
        self.config = config
        self._identity = Identity.ephemeral()
        self._poller = zmq.Poller()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.books = [AddressBook(random.Random()) for _ in config.members]
        self._places: list[dict[Address, zmq.Socket[bytes]]] = [{} for _ in config.members]
        self._epoch = Epoch.first(config)
        self._reader = BlockReader(self._epoch)
        self._services = {config.service(n): n for n in range(len(config.members))}
        self._found: queue.Queue[DiscoveryEvent] = queue.Queue(EVENTS_MAX)
        clients = [Grape([url]) for url in grapes]
        self._discovery = Discovery(
            clients, None, list(self._services), self._hand_on, rng=random.Random()
        )

    def __enter__(self) -> "Listener":
        self._discovery.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._discovery.stop()
        self._context.destroy(linger=0)

    def messages(self) -> Iterator[tuple[int, Message] | None]:
        """Yields the member and its message, or the reason why it was invalid; None now and
        then."""
        while True:
            ready = dict(self._poller.poll(100))
            while not self._found.empty():
                self._note(self._found.get())
            for member, places in enumerate(self._places):
                self._follow(member)
                for address, socket in list(places.items()):
                    if socket in ready:
                        yield from ((member, said) for said in self._said(member, address, socket))
            yield None

    def _hand_on(self, event: DiscoveryEvent) -> None:
        with contextlib.suppress(queue.Full):  # discovery will find it again
            self._found.put_nowait(event)

    def _note(self, event: DiscoveryEvent) -> None:
        match event:
            case Found(name, addresses):
                self.books[self._services[name]].find(addresses)
            case GrapeLost(_, reason):
                click.echo(f"tap: a Grape does not answer: {reason}", err=True)
            case GrapeFound(grape):
                click.echo(f"tap: the Grape at {grape} answers", err=True)

    def _follow(self, member: int) -> None:
        """Connect to the addresses that the member's address book suggests."""
        turn = self.books[member].turn(_now_ms())
        for address in turn.close:
            socket = self._places[member].pop(address)
            self._poller.unregister(socket)
            socket.close(linger=0)
        for address, lasting in turn.connect:
            self._places[member][address] = self._subscribe(member, address, lasting)

    def _subscribe(self, member: int, address: Address, lasting: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SUB)
        socket.maxmsgsize = FRAME_BYTES_MAX
        socket.curve_secretkey = self._identity.curve_secret
        socket.curve_publickey = self._identity.curve_public
        socket.curve_serverkey = curve_public(self.config.members[member].public)
        socket.reconnect_ivl = 100 if lasting else -1
        socket.reconnect_ivl_max = 2_000 if lasting else 0
        socket.subscribe(b"")
        socket.connect(f"tcp://{address}")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _said(self, member: int, address: Address, socket: zmq.Socket[bytes]) -> Iterator[Message]:
        for _ in range(DRAIN_MAX):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            match frames:
                case [b"B", frame]:
                    yield self._block(frame)
                case [b"H", body]:
                    said = self._heartbeat(member, body)
                    if isinstance(said, Heartbeat):
                        self.books[member].hear(address, _now_ms())
                    yield said
                case _:
                    yield "neither a block nor a heartbeat"

    def _block(self, frame: bytes) -> Block | str:
        try:
            return self._reader.read(frame)
        except InvalidBlockError as error:
            return f"an invalid block: {error}"

    def _heartbeat(self, member: int, body: bytes) -> Heartbeat | str:
        beat = messages.parse_heartbeat(body)
        if beat is None:
            return "a bad heartbeat"
        if not messages.is_of(beat, self._epoch, member):
            return "a heartbeat of another mesh or member"
        return beat


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
        members=_known("peer", peers, [member.name for member in config.members]),
        markets=frozenset(markets),
        kinds=frozenset(kinds or set(KINDS) - {"heartbeat"}),
    )
    _known("market", markets, [market.symbol for market in config.markets])
    click.echo(f"tap: listening to {', '.join(m.name for m in config.members)}", err=True)
    with contextlib.ExitStack() as stack:
        screen: Screen
        if stats:
            screen = stack.enter_context(Stats(config, chosen))
        else:
            screen = Json(config, chosen) if as_json else Lines(config, chosen)
        listener = stack.enter_context(Listener(config, grapes))
        _show(listener, screen, chosen)


def _known(what: str, wanted: tuple[str, ...], names: list[str]) -> frozenset[int]:
    """The positions of `wanted` in `names`. ClickException if one is not there."""
    for name in wanted:
        if name not in names:
            text = f"no {what} {name!r:.40} in this mesh: there is {', '.join(names)}"
            raise click.ClickException(text)
    return frozenset(map(names.index, wanted))


def _show(listener: Listener, screen: Screen, chosen: Filter) -> None:
    """Show messages until Ctrl-C, or until the output is closed."""
    began_s, heard = time.monotonic(), False
    try:
        for message in listener.messages():
            if message is None:
                screen.tick()
            elif chosen.member(message[0]):
                screen.show(*message)
            heard = heard or message is not None
            if not heard and time.monotonic() - began_s > SILENCE_S:
                click.echo("tap: no message so far: do the peers run?", err=True)
                heard = True
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the exit fails too
