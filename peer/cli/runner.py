"""One peer as a process: the node in the foreground, its web gateway beside it.

Owns assembling a node from options, its discovery thread, its gateway process and its signals.
"""

import contextlib
import logging
import queue
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import zmq

from discovery.grape import Address, Grape
from discovery.service import Discovery
from discovery.service_tracker import Event as DiscoveryEvent
from peer.client.endpoint import Endpoints, Local, endpoints
from peer.membership import mesh_file
from peer.membership.identity import Identity, Verifier
from peer.membership.mesh_file import MeshConfig
from peer.network.address_file import AddressFile
from peer.network.addresses import read_address
from peer.network.authenticator import Gate
from peer.network.mesh import Mesh
from peer.node.ledger import SNAPSHOT_EVERY, Ledger
from peer.node.loop import Node, Wires
from peer.node.timers import Clock
from peer.process.descriptors import SOCKETS_MAX, Room, raise_limit, room_of
from peer.process.lifeline import on_end
from peer.storage.history_writer import KEEP, Keep
from peer.storage.journal import Journal, JournalError
from web.auth.keys import KEYS_FILE

KEY_FILE = "key"
JOURNAL_FILE = "journal.db"
ADDRESSES_FILE = "addresses.json"
DISCOVERED_MAX = 1_000
GATEWAY_RESTART_S = 2.0
GATEWAY_RESTART_S_MAX = 60.0  # between starts, and what one has to last to count as a good one
GATEWAY_STOP_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Where a peer finds its files and others, and where it listens. Port 0 takes any free one."""

    data: Path
    mesh: Path
    grapes: tuple[str, ...] = ()
    static: tuple[str, ...] = ()  # members at known places: name=host:port
    host: str = "127.0.0.1"
    port: int = 0
    fetch_port: int = 0
    ui: str = ""  # host:port of the web gateway; empty: none
    tls: tuple[str, str] = ("", "")  # PEM files of certificate and key for the page; empty: HTTP
    snapshot_every: int = SNAPSHOT_EVERY  # commits
    keep: Keep = KEEP  # of the past
    strangers: bool = True  # may trade at the page, if they sign with a key of their own


def keygen(data: Path) -> Identity:
    """Make a new peer's data folder: its key and, born with it, its empty journal."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity.create(data / KEY_FILE)
    try:
        Journal.create(data / JOURNAL_FILE, identity.public)
    except JournalError:
        (data / KEY_FILE).unlink()  # never used, and without its journal it never can be
        raise
    return identity


class Security(NamedTuple):
    """The parts that keep a peer safe. Only a benchmark of their cost has others."""

    identity: type[Identity] = Identity
    gate: type[Gate] = Gate
    verifier: type[Verifier] = Verifier


def run(options: Options, security: Security | None = None, clock: Clock | None = None) -> None:
    """Run a peer until SIGTERM or SIGINT."""
    config = mesh_file.load(options.mesh)
    room = room_of(raise_limit())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.max_sockets = SOCKETS_MAX
    found: queue.Queue[DiscoveryEvent] = queue.Queue(DISCOVERED_MAX)
    node = _assemble(options, config, context, room, found, security or Security(), clock)
    node.mesh.sentry.start()
    memory = AddressFile(options.data / ADDRESSES_FILE)
    _say_where(node, options.static, memory)
    gateway = _gateway(options, config, node.ledger.me is not None)
    on_end(node.stop)
    node.recover()
    discovery = _discovery(options.grapes, config, node, found)
    try:
        node.run(lambda: _watch(node, gateway, memory))
    finally:
        memory.close(_where(node))
        if gateway is not None:
            gateway.stop()
        if discovery is not None:
            discovery.stop()
        node.mesh.sentry.stop()
        context.destroy()
        node.ledger.journal.close()  # last: until then nobody else listens at the local sockets
    _log.info("stopped")


def _assemble(
    options: Options,
    config: MeshConfig,
    context: zmq.Context[zmq.Socket[bytes]],
    room: Room,
    found: "queue.Queue[DiscoveryEvent]",
    safe: Security,
    clock: Clock | None,
) -> Node:
    identity = safe.identity.load(options.data / KEY_FILE)
    journal = Journal(options.data / JOURNAL_FILE, identity.public, config.id)
    poller = zmq.Poller()
    where = options.host, options.port, options.fetch_port
    gate = safe.gate(context, config, identity, poller)
    mesh = Mesh(context, config, identity, poller, *where, gate, room)
    wires = Wires(poller, mesh, Local(context, endpoints(options.data), poller))
    me, every = config.number_of(identity.public), options.snapshot_every
    ledger = Ledger(
        config,
        me,
        identity.sign,
        journal,
        snapshot_every=every,
        keep=options.keep,
        verifier=safe.verifier,
    )
    return Node(config, ledger, wires, found, clock)


def _gateway(options: Options, config: MeshConfig, is_member: bool) -> "Gateway | None":
    if not options.ui:
        return None
    extra = ["--history", str(options.data / JOURNAL_FILE)]
    extra += ["--keys", str(options.data / KEYS_FILE)]
    if not options.strangers:
        extra += ["--no-strangers"]
    if all(options.tls):
        extra += ["--tls-cert", options.tls[0], "--tls-key", options.tls[1]]
    elif is_member:
        extra += _service(options.grapes, config)
    return Gateway(options.ui, endpoints(options.data), extra)


def _service(grapes: tuple[str, ...], config: MeshConfig) -> list[str]:
    """The gateway's options by which a member serves Grenache RPC, under one name for the mesh."""
    if not grapes:
        return []
    urls = [option for grape in grapes for option in ("--grape", grape)]
    return [*urls, "--announce", f"p2p-orderbook:rpc:{config.id.hex()}"]


def _watch(node: Node, gateway: "Gateway | None", memory: AddressFile) -> None:
    """What the process looks after besides its node, now and then."""
    memory.keep(_where(node), time.monotonic_ns() // 1_000_000)
    node.local.renew()
    if gateway is not None:
        gateway.watch()


def _discovery(
    grapes: tuple[str, ...],
    config: MeshConfig,
    node: Node,
    found: "queue.Queue[DiscoveryEvent]",
) -> Discovery | None:
    if not grapes:
        return None
    announce = None if node.ledger.me is None else (config.service(node.ledger.me), node.mesh.port)
    watch = [config.service(number) for number in node.mesh.links]
    if announce is None and not watch:
        return None

    def hand_on(event: DiscoveryEvent) -> None:
        with contextlib.suppress(queue.Full):  # it will be found again
            found.put_nowait(event)

    clients = [Grape([url]) for url in grapes]
    discovery = Discovery(clients, announce, watch, hand_on, rng=random.Random())
    discovery.start()
    return discovery


def _say_where(node: Node, places: tuple[str, ...], memory: AddressFile) -> None:
    """Tell a node where its members are: what it knew before, and the places given."""
    remembered = memory.load()
    for member, link in node.mesh.links.items():
        link.book.remember(remembered.get(node.config.members[member].key, ()))
    numbers = {member.name: number for number, member in enumerate(node.config.members)}
    for place in places:
        name, _, address = place.partition("=")
        if name not in numbers:
            raise mesh_file.ConfigError(f"expected NAME=HOST:PORT of a member, got {place!r:.100}")
        try:
            where = read_address(address)
            if numbers[name] in node.mesh.links:
                node.mesh.links[numbers[name]].book.give(where)
        except ValueError as error:
            raise mesh_file.ConfigError(f"--at {place!r:.100}: {error}") from None


def _where(node: Node) -> dict[str, list[Address]]:
    """Where its members are, as far as it is worth remembering."""
    members, links = node.config.members, node.mesh.links.items()
    found = {members[number].key: link.book.remembered for number, link in links}
    return {key: addresses for key, addresses in found.items() if addresses}


class Gateway:
    """The web process beside the node. One that ends is started again: at first soon, then ever
    more slowly for as long as none lasts."""

    def __init__(self, bind: str, where: Endpoints, options: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", "web", "--node", where.node, "--feed", where.feed]
        self._command += ["--bind", bind, "--exit-with-parent", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s = GATEWAY_RESTART_S
        self._due_s = self._started_s = time.monotonic()
        self.watch()

    def watch(self) -> None:
        """See to it that one runs, or will."""
        now_s = time.monotonic()
        if self._process is not None and (status := self._process.poll()) is not None:
            self._drop()
            if now_s - self._started_s > GATEWAY_RESTART_S_MAX:
                self._wait_s = GATEWAY_RESTART_S
            self._retry(f"the web gateway ended with status {status}", now_s)
        if self._process is None and now_s >= self._due_s:
            self._start(now_s)

    def _start(self, now_s: float) -> None:
        self._started_s = now_s
        try:
            # A session of its own: what a terminal sends its programs is for the peer, which then
            # ends the gateway. Standard input tells the gateway when the peer is gone.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            self._retry(f"the web gateway cannot be started ({error})", now_s)

    def _retry(self, why: str, now_s: float) -> None:
        _log.error("%s: another start in %d s", why, self._wait_s)
        self._due_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, GATEWAY_RESTART_S_MAX)

    def _drop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GATEWAY_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drop()
