"""One peer as a process: the node in the foreground, its web gateway beside it.

Owns the assembly of a node from options, and the order in which its parts start and stop.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from engine import why_plain
from peer.cli.chain_finder import ChainFinder
from peer.cli.gateway_process import GatewayProcess
from peer.cli.member_finder import DISCOVERED_MAX, Found, MemberFinder
from peer.cli.membership_guide import Intent, MembershipGuide
from peer.client.endpoint import Local, endpoint
from peer.membership import mesh_file
from peer.membership.epochs import Pin, read_pin
from peer.membership.identity import Identity, Verifier
from peer.membership.mesh_file import ConfigError, MeshConfig
from peer.network.authenticator import Authenticator
from peer.network.mesh import Mesh
from peer.node.ledger import Ledger
from peer.node.loop import Node, Wires
from peer.node.snapshots import PACE
from peer.node.timers import Clock
from peer.process.collector import SetAside, paused
from peer.process.descriptors import SOCKETS_MAX, Room, raise_limit, room_of
from peer.process.lifeline import on_end
from peer.process.poller import Poller
from peer.replica.feature_level import LEVELS, Levels
from peer.storage.data_folder import ADDRESSES_FILE, JOURNAL_FILE, KEY_FILE
from peer.storage.history_pruning import KEEP, Keep
from peer.storage.journal import Journal
from peer.version import VERSION
from web.options import command_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The options of a peer. Port 0 means any free port."""

    data: Path
    mesh: Path
    grapes: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # addresses of members: name=host:port
    trust: str = ""  # epoch:seal, see `membership.epochs.chain`; empty: none
    host: str = "127.0.0.1"
    port: int = 0
    fetch_port: int = 0
    chain_port: int = 0  # where newcomers ask who the members are
    chain_places: tuple[str, ...] = ()  # where present members answer that: host:port
    ui: str = ""  # host:port of the web gateway; empty: none
    snapshot_every: int = PACE.commits
    keep: Keep = KEEP  # how much of the past
    gateway: Mapping[str, Any] = field(default_factory=dict)  # values of `web.options.FORWARDED`
    intent: Intent | None = None  # to be a member; None: it is one already, or only follows


class Security(NamedTuple):
    """The parts that keep a peer secure. Only a benchmark of their cost replaces them."""

    identity: type[Identity] = Identity
    authenticator: type[Authenticator] = Authenticator
    verifier: type[Verifier] = Verifier


def run(
    options: Options,
    security: Security | None = None,
    clock: Clock | None = None,
    levels: Levels = LEVELS,
) -> int:
    """Run a peer until SIGTERM or SIGINT. Returns the status with which to end."""
    runs = f"plain: {why_plain}" if why_plain else "compiled"
    _log.info("version %s, knows feature levels up to %d, runs %s", VERSION, levels.highest, runs)
    config = mesh_file.load(options.mesh)
    room = room_of(raise_limit())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.max_sockets = SOCKETS_MAX
    found = Found(DISCOVERED_MAX)
    node = _assemble(options, config, context, room, found, security or Security(), clock, levels)
    finder = MemberFinder(node, options.data / ADDRESSES_FILE, options.places)
    where = options.host, options.chain_port, options.chain_places
    chain = ChainFinder(node, context, *where, (clock or Clock()).now_us)
    node.mesh.guard.start()
    gateway = GatewayProcess(_gateway_command(options, node)) if options.ui else None
    guide = MembershipGuide(node, options.data, options.intent) if options.intent else None
    on_end(guide.end if guide else node.stop)
    with paused():
        node.recover()
    aside = SetAside(node.ledger.replica)
    if guide is not None:
        guide.introduce()
    finder.start(options.grapes, found)
    chain.start(options.grapes)

    def watch() -> None:
        """Maintain the parts beside the node. Called now and then."""
        chain.follow()
        finder.follow()
        finder.remember()
        node.local.renew()
        aside.watch(node.ledger.replica)
        if gateway is not None:
            gateway.watch()
        if guide is not None:
            guide.watch()

    try:
        node.run(watch)
    finally:
        if gateway is not None:
            gateway.stop()
        finder.stop()
        chain.stop()
        node.mesh.guard.stop()
        context.destroy()
        node.ledger.journal.close()  # last: until then no other peer can take the local socket
    _log.info("stopped")
    return guide.status if guide else 0


def _assemble(
    options: Options,
    config: MeshConfig,
    context: zmq.Context[zmq.Socket[bytes]],
    room: Room,
    found: Found,
    safe: Security,
    clock: Clock | None,
    levels: Levels,
) -> Node:
    identity = safe.identity.load(options.data / KEY_FILE)
    journal = Journal(options.data / JOURNAL_FILE, identity.public, config.id)
    poller = Poller()
    where = options.host, options.port, options.fetch_port
    authenticator = safe.authenticator(context, config, identity, poller)
    mesh = Mesh(context, config, identity, poller, *where, authenticator, room)
    wires = Wires(poller, mesh, Local(context, endpoint(options.data), poller))
    ledger = Ledger(
        config,
        config.number_of(identity.public),
        identity.sign,
        journal,
        pace=PACE._replace(commits=options.snapshot_every),
        keep=options.keep,
        verifier=safe.verifier,
        pin=_pin(options.trust),
        levels=levels,
    )
    return Node(config, ledger, wires, found, clock)


def _pin(text: str) -> Pin | None:
    try:
        return read_pin(text) if text else None
    except ValueError as error:
        raise ConfigError(f"--trust: {error}") from None


def _gateway_command(options: Options, node: Node) -> list[str]:
    """The command of the gateway. While its peer is a member it announces itself, under one name
    for the whole mesh, unless it uses TLS, which Grenache clients don't speak."""
    given = dict(options.gateway)
    if options.grapes and not given.get("tls_cert"):
        given["grapes"] = options.grapes
        given["announce"] = f"p2p-orderbook:rpc:{node.config.id.hex()}"
    return command_line(data=options.data, bind=options.ui, exit_with_parent=True, **given)
