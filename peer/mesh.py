"""The wires between peers: every network socket of a node.

Owns the PUB socket this peer speaks on, the ROUTER it answers fetches on, and to every other
member a SUB and a DEALER. Must never interpret a block: it hands frames on, with the member they
came from.

Every socket is CURVE-encrypted. A member's public key in the mesh file gives its CURVE key, so a
link is to that member or to nobody, wherever the address came from.

Whatever others send, a turn takes in a bounded part of it. A member publishes at most a block for
every round that a quorum has made, and a heartbeat each HEARTBEAT_MS: what is more than that is not
read, and who goes on like this is not heard for FLOOD_PAUSE_MS. A message that was not read is a
message lost, and those are fetched: the limits can delay an honest member, never harm it.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import zmq

from discovery.grape import Address
from peer import frames as wire
from peer.addresses import ALIVE_MS as ALIVE_MS
from peer.addresses import read_address
from peer.block import FRAME_BYTES_MAX, Block
from peer.catchup import Manifest, PartWanted
from peer.config import MeshConfig
from peer.consensus import Pull, Wanted
from peer.frames import (
    REQUEST_BYTES_MAX,
    Asked,
    BlockIn,
    Heard,
    Heartbeat,
    Introduced,
    PartAsked,
    Pulled,
    Request,
)
from peer.frames import Message as Said
from peer.gate import Asker, Gate
from peer.identity import Identity, curve_public
from peer.links import QUEUE_MESSAGES_MAX, Link, Voice
from peer.sentry import Sentry

CURVE_BYTES = 64  # what encryption adds to a frame, at most
HEARTBEAT_MS = 250
DRAIN_MAX = 200  # messages of one socket in one turn
REQUESTS_PER_TURN_MAX = 16
REST_MS = 20  # without a look at the requests after so many
SUBSCRIPTION_QUEUE_MAX = 8  # of one connection
SUBSCRIPTION_BYTES_MAX = 1_024  # a subscription, or a part of the handshake
LOOK_MS = 100  # between two looks of the sentry
SUB_QUEUE_MAX = 256  # messages of one member, not taken in yet
REQUEST_QUEUE_MAX = 64  # requests of one connection
ANSWER_QUEUE_MAX = 8  # answers to or from one connection
OWED_MAX = 64  # answers one member may still give
UNREAD_MS = 10  # between two messages that may be left unread, in the long run
FLOOD_PAUSE_MS = 10_000
HANDSHAKE_MS = 5_000
NEVER = -1  # libzmq's word for it

_LIMITS = {  # of each kind of socket: messages to send, to take in, bytes of a frame that comes in
    zmq.PUB: (QUEUE_MESSAGES_MAX, SUBSCRIPTION_QUEUE_MAX, SUBSCRIPTION_BYTES_MAX),
    zmq.SUB: (QUEUE_MESSAGES_MAX, SUB_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
    zmq.ROUTER: (ANSWER_QUEUE_MAX, REQUEST_QUEUE_MAX, REQUEST_BYTES_MAX),
    zmq.DEALER: (REQUEST_QUEUE_MAX, ANSWER_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
}

_log = logging.getLogger(__name__)


class Flooded(NamedTuple):
    """A member sends more than it can need, and is not heard for FLOOD_PAUSE_MS."""

    member: int


Message = Said | Flooded


class Mesh:
    """Constructing binds; `port` is where others subscribe (0: any), `host` the interface."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        config: MeshConfig,
        identity: Identity,
        poller: zmq.Poller,
        host: str = "127.0.0.1",
        port: int = 0,
        fetch_port: int = 0,
        gate: Gate | None = None,
    ) -> None:
        self.config = config
        self.host = host
        self.gate = gate or Gate(context, config, identity, poller)
        self._context = context
        self._poller = poller
        self._pub, self.port = self._serve(zmq.PUB, host, port)
        self._router, self.fetch_port = self._serve(zmq.ROUTER, host, fetch_port)
        poller.register(self._router, zmq.POLLIN)
        self._rest_until_ms: int | None = None  # for the router: too much is asked
        self.sentry = Sentry(self.port, self.fetch_port)
        self._look_ms = 0
        me = config.number_of(identity.public)
        self.links = {
            number: Link(number, curve_public(member.public))
            for number, member in enumerate(config.members)
            if number != me
        }

    def _serve(self, kind: int, host: str, port: int) -> tuple[zmq.Socket[bytes], int]:
        socket = self._socket(kind)
        socket.handshake_ivl = HANDSHAKE_MS
        self.gate.serve(socket)
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        endpoint = socket.last_endpoint
        assert isinstance(endpoint, bytes)
        return socket, int(endpoint.rstrip(b"\0").rpartition(b":")[2])

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm, socket.rcvhwm, socket.maxmsgsize = _LIMITS[zmq.SocketType(kind)]
        return socket

    def _client(
        self, kind: int, link: Link, endpoint: str, reconnects: bool = True
    ) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        socket.reconnect_ivl = 100 if reconnects else NEVER
        socket.reconnect_ivl_max = 2_000 if reconnects else 0
        socket.handshake_ivl = HANDSHAKE_MS
        self.gate.join(socket, link.server_key)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        try:
            socket.connect(endpoint)
        except zmq.ZMQError:
            socket.close()
            raise
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def cut(self, member: int) -> None:
        """A member misbehaves: hear it no more, and let it connect no more."""
        link = self.links[member]
        self.gate.deny(link.server_key)
        self._hang_up(link)
        link.fetch, link.heard_ms = None, -1
        link.cut = True

    def _hang_up(self, link: Link) -> None:
        self._hush(link)
        if link.fetch is not None:
            self._close(link.fetch)

    def _hush(self, link: Link) -> None:
        for voice in link.addresses.values():
            self._close(voice.socket)
        link.addresses = {}
        link.book.close_all()

    def found(self, member: int, addresses: Sequence[Address]) -> None:
        """A lookup says that a member may be there."""
        if (link := self.links.get(member)) is not None:
            link.book.find(addresses)

    def _follow(self, link: Link, now_ms: int) -> None:
        """Connect where the member may be, as its address book says."""
        if link.cut or now_ms < link.paused_until_ms:
            return
        link.paused_until_ms = 0
        turn = link.book.turn(now_ms)
        for address in turn.close:
            if (voice := link.addresses.pop(address, None)) is not None:
                self._close(voice.socket)
        for address, lasting in turn.connect:
            try:
                socket = self._client(zmq.SUB, link, f"tcp://{address}", lasting)
            except zmq.ZMQError as error:
                _log.debug("cannot connect to %s now: %s", address, error)
            else:
                link.addresses[address] = Voice(socket)

    def _pause(self, link: Link, now_ms: int) -> None:
        """A member floods: do not hear it for a while. It can still be asked."""
        _log.warning("member %d floods: it is not heard for %d ms", link.member, FLOOD_PAUSE_MS)
        self._hush(link)
        link.heard_ms, link.floods = -1, False
        link.paused_until_ms = now_ms + FLOOD_PAUSE_MS

    def _close(self, socket: zmq.Socket[bytes]) -> None:
        self._poller.unregister(socket)
        socket.close()

    def receive(self, now_ms: int, quorum_round: int = 0) -> Iterator[Message]:
        """What members said, a bounded part of it; the rest next turn. What makes no sense is
        dropped. `quorum_round`: the highest at which a quorum of blocks is here."""
        self.gate.answer()
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
            self.sentry.look()
        for link in self.links.values():
            self._follow(link, now_ms)
            for address, voice in list(link.addresses.items()):
                yield from self._published(link, address, voice, now_ms, quorum_round)
            if link.fetch is not None:
                yield from self._fetched(link, link.fetch, now_ms)
            if link.floods:
                self._pause(link, now_ms)
                yield Flooded(link.member)

    def requests(self, now_ms: int) -> Iterator[tuple[Asker, Request]]:
        """What others ask for, a bounded part of it. When that much came there may be more, and it
        is left where it is for a while: then whoever asks too much has to wait."""
        if self._rest_until_ms is not None:
            if now_ms < self._rest_until_ms:
                return
            self._rest_until_ms = None
            self._poller.register(self._router, zmq.POLLIN)
        for _ in range(REQUESTS_PER_TURN_MAX):
            try:
                who, *parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if parts:
                self.sentry.heard[int(parts[0].get(zmq.SRCFD))] += 1
            asker = self.gate.asker(parts[0]) if parts else None
            asked = wire.parse_request(
                who.bytes, [part.bytes for part in parts[:3]], len(self.config.members)
            )
            if asker is None or asked is None:
                continue
            if isinstance(asked, Introduced):
                self._meet(asker, str(parts[0].get("Peer-Address")), asked.port)
            else:
                yield asker, asked
        self._rest_until_ms = now_ms + REST_MS
        self._poller.unregister(self._router)

    def _meet(self, asker: Asker, host: str, port: int) -> None:
        """A member says where it can be heard. It can only send us to its own host."""
        for link in self.links.values():
            if asker.is_member and asker.name == link.server_key.hex():
                with contextlib.suppress(ValueError):
                    link.book.tell(read_address(f"{host}:{port}"))

    @property
    def due_ms(self) -> int | None:
        """When `requests` should be called though nothing wakes the poller."""
        return self._rest_until_ms

    @staticmethod
    def _drain(socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
        for _ in range(DRAIN_MAX):
            try:
                yield socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return

    @property
    def refused(self) -> int:
        """Connections that were refused, or ended by the sentry."""
        return self.gate.refused + self.sentry.ended

    def _published(
        self, link: Link, address: Address, voice: Voice, now_ms: int, quorum_round: int
    ) -> Iterator[Message]:
        for parts in self._drain(voice.socket):
            self.sentry.heard[address] += 1
            match parts:
                case [b"B", body] if voice.blocks.take(quorum_round + now_ms // 1_000):
                    yield BlockIn(link.member, body)
                case [b"H", body] if voice.heartbeats.take(now_ms // HEARTBEAT_MS):
                    yield from self._hear(link, address, body, now_ms)
                case _:
                    self._leave_unread(link, now_ms)

    def _fetched(self, link: Link, socket: zmq.Socket[bytes], now_ms: int) -> Iterator[Message]:
        for kind, *parts in self._drain(socket):
            self.sentry.heard[link.fetch_place] += 1
            if link.owed > 0:
                link.owed -= 1
                yield from wire.parse_answer(link.member, kind, parts)
            else:
                self._leave_unread(link, now_ms)

    @staticmethod
    def _leave_unread(link: Link, now_ms: int) -> None:
        link.unread += 1
        link.floods |= not link.excess.take(now_ms // UNREAD_MS)

    def _hear(self, link: Link, address: Address, body: bytes, now_ms: int) -> Iterator[Heard]:
        heartbeat = wire.parse_heartbeat(body)
        if heartbeat is None:
            self._leave_unread(link, now_ms)
            return
        if not wire.is_of(heartbeat, self.config, link.member):
            if not link.foreign:
                _log.warning("at %s is member %d of another mesh", address, link.member)
            link.foreign += 1
            link.unread += 1
            return
        link.book.hear(address, now_ms)
        endpoint = f"tcp://{address.host}:{heartbeat.fetch_port}"
        moved = address == link.book.home and endpoint != link.fetch_endpoint
        if moved and now_ms >= link.move_ms:
            link.move_ms = now_ms + ALIVE_MS
            if link.fetch is not None:
                self._close(link.fetch)
            link.fetch = self._client(zmq.DEALER, link, endpoint)
            link.fetch_endpoint = endpoint
            link.fetch_place = address.host, heartbeat.fetch_port
            link.owed = 0
        link.heard_ms = now_ms
        link.heartbeat = heartbeat
        link.address = str(link.book.home)
        yield Heard(link.member, heartbeat)

    def alive(self, member: int, now_ms: int) -> bool:
        link = self.links[member]
        return link.heard_ms >= 0 and now_ms - link.heard_ms < ALIVE_MS

    def publish(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._pub.send_multipart((b"B", block.frame))

    def beat(self, heartbeat: Heartbeat) -> None:
        """Tell all. Who is heard and says that it does not hear us is told where we are."""
        self._pub.send_multipart((b"H", wire.encode(heartbeat)))
        for link in self.links.values():
            if link.fetch is None or link.heartbeat is None:
                continue
            if heartbeat.hears[link.member] and not link.heartbeat.hears[heartbeat.member]:
                with contextlib.suppress(zmq.Again):
                    link.fetch.send_multipart(wire.introduction(self.port), zmq.NOBLOCK)

    def ask(self, requests: Iterable[Wanted | Pull | PartWanted]) -> None:
        """Send requests; one that can't go out now is dropped, consensus asks again."""
        for request in requests:
            link = self.links.get(request.member)
            if link is None or link.fetch is None:
                continue
            try:
                link.fetch.send_multipart(wire.request(request), zmq.NOBLOCK)
            except zmq.Again:
                _log.debug("the queue to member %d is full", request.member)
            else:
                link.owed = min(link.owed + 1, OWED_MAX)

    def answer(self, asked: Asked | Pulled, frames: list[bytes]) -> None:
        kind = b"F" if isinstance(asked, Asked) else b"P"
        self._router.send_multipart((asked.who, kind, *frames))  # a full or gone peer: dropped

    def offer(self, pulled: Pulled, manifest: Manifest, certificate: list[bytes]) -> None:
        self._router.send_multipart((pulled.who, b"M", wire.encode(manifest), *certificate))

    def send_part(self, asked: PartAsked, data: bytes) -> None:
        place = wire.encode((asked.commit, asked.offset))
        self._router.send_multipart((asked.who, b"S", place, data))

    def close(self) -> None:
        for link in self.links.values():
            self._hang_up(link)
        if self._rest_until_ms is None:
            self._poller.unregister(self._router)
        self._router.close()
        self._pub.close()
        self.gate.close()
