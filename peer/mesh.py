"""The wires between peers: every network socket of a node.

Owns the PUB socket this peer speaks on, the ROUTER it answers fetches on, and to every other
member a SUB and a DEALER. Must never interpret a block: it hands frames on, with the member they
came from.

Every socket is CURVE-encrypted. A member's public key in the mesh file gives its CURVE key, so a
link is to that member or to nobody, wherever the address came from. Frames:

    PUB     [b"B", block frame] or [b"H", Heartbeat]
    DEALER  [b"F", concatenated digests], [b"P", round by author] or [b"S", (commit, offset)]
    ROUTER  [b"F" or b"P", block frame, ...], as many as fit
            [b"M", Manifest, block frame, ...] to a P whose blocks are pruned: take this snapshot
            [b"S", (commit, offset), part of the snapshot]
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
import zmq

from discovery.grape import Address
from peer.block import DIGEST_BYTES, FRAME_BYTES_MAX, Audit, Block
from peer.catchup import SNAPSHOT_BYTES_MAX, Manifest, PartWanted
from peer.committee import MEMBERS_MAX
from peer.config import MeshConfig
from peer.consensus import REFS_PER_REQUEST_MAX, Pull, Wanted
from peer.identity import Identity, curve_public

HEARTBEAT_MS = 250
ALIVE_MS = 1_500
ANSWER_BYTES_MAX = 2 * 1024 * 1024
ANSWER_BLOCKS_MAX = 1_000
QUEUE_MESSAGES_MAX = 1_000
ADDRESSES_MAX = 4  # of one member, tried at the same time
SPARE_ADDRESSES_MAX = 64  # of one member, tried in turn while it is silent
ROTATE_MS = 500
DRAIN_MAX = 200  # messages of one socket in one turn
REQUEST_BYTES_MAX = 16 * 1024

_log = logging.getLogger(__name__)


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Sent to all every HEARTBEAT_MS: what this peer has, so that others see what they miss."""

    mesh: bytes
    epoch: int
    member: int
    fetch_port: int
    rounds: tuple[int, ...]
    commit: int
    audit: Audit
    latest: Audit
    time_ms: int


class BlockIn(NamedTuple):
    """A frame that a member published or answered with."""

    member: int
    frame: bytes


class Heard(NamedTuple):
    member: int
    heartbeat: Heartbeat


class Answered(NamedTuple):
    """The end of an answer to a Pull; its blocks came before."""

    member: int


class Offered(NamedTuple):
    """A member has no blocks so old, but a snapshot; the frames certify it."""

    member: int
    manifest: Manifest
    certificate: list[bytes]


class PartIn(NamedTuple):
    """A part of a member's snapshot."""

    member: int
    commit: int
    offset: int
    data: bytes


class Asked(NamedTuple):
    """Somebody wants these blocks."""

    who: bytes
    digests: tuple[bytes, ...]


class Pulled(NamedTuple):
    """Somebody wants all blocks above these rounds."""

    who: bytes
    rounds: tuple[int, ...]


class PartAsked(NamedTuple):
    """Somebody wants a part of a snapshot."""

    who: bytes
    commit: int
    offset: int


Message = BlockIn | Heard | Answered | Offered | PartIn | Asked | Pulled | PartAsked

_heartbeats = msgspec.msgpack.Decoder(Heartbeat)
_manifests = msgspec.msgpack.Decoder(Manifest)
_places = msgspec.msgpack.Decoder(tuple[int, int])
_vectors = msgspec.msgpack.Decoder(tuple[int, ...])
_encode = msgspec.msgpack.Encoder().encode


class _Link:
    """The sockets to one member."""

    def __init__(self, member: int, server_key: bytes) -> None:
        self.member = member
        self.server_key = server_key
        self.addresses: dict[Address, zmq.Socket[bytes]] = {}  # each with its SUB
        self.spare: deque[Address] = deque(maxlen=SPARE_ADDRESSES_MAX)  # the next to try is last
        self.rotate_ms = 0
        self.fetch: zmq.Socket[bytes] | None = None
        self.fetch_endpoint = ""
        self.heard_ms = -1
        self.cut = False
        self.heartbeat: Heartbeat | None = None
        self.address = ""


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
    ) -> None:
        self.config = config
        self.host = host
        self._context = context
        self._identity = identity
        self._poller = poller
        self._allowed = {curve_public(member.public) for member in config.members}
        if config.observers != "any":
            self._allowed |= {curve_public(bytes.fromhex(key)) for key in config.observers}
        self._denied: set[bytes] = set()
        self._refused: set[str] = set()
        self._zap = context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind("inproc://zeromq.zap.01")
        poller.register(self._zap, zmq.POLLIN)
        self._pub, self.port = self._serve(zmq.PUB, host, port)
        self._router, self.fetch_port = self._serve(zmq.ROUTER, host, fetch_port)
        poller.register(self._router, zmq.POLLIN)
        me = config.number_of(identity.public)
        self.links = {
            number: _Link(number, curve_public(member.public))
            for number, member in enumerate(config.members)
            if number != me
        }

    def _serve(self, kind: int, host: str, port: int) -> tuple[zmq.Socket[bytes], int]:
        socket = self._socket(kind)
        socket.curve_server = True
        socket.zap_domain = b"mesh"
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
        socket.sndhwm = socket.rcvhwm = QUEUE_MESSAGES_MAX
        socket.maxmsgsize = REQUEST_BYTES_MAX if kind == zmq.ROUTER else FRAME_BYTES_MAX
        socket.curve_secretkey = self._identity.curve_secret
        socket.curve_publickey = self._identity.curve_public
        return socket

    def _client(self, kind: int, link: _Link, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        socket.curve_serverkey = link.server_key
        socket.reconnect_ivl = 100
        socket.reconnect_ivl_max = 2_000
        socket.handshake_ivl = 5_000
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(endpoint)
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def cut(self, member: int) -> None:
        """A member misbehaves: hear it no more, and let it connect no more."""
        link = self.links[member]
        self._allowed.discard(link.server_key)
        self._denied.add(link.server_key)
        for socket in (*link.addresses.values(), *([link.fetch] if link.fetch else [])):
            self._close(socket)
        link.addresses, link.fetch, link.heard_ms = {}, None, -1
        link.spare.clear()
        link.cut = True

    def joined(self, member: int, address: Address) -> None:
        """A member may be at `address`: subscribe there, as soon as there is room."""
        link = self.links.get(member)
        if link is None or link.cut or address in link.addresses or address in link.spare:
            return
        if len(link.addresses) < ADDRESSES_MAX:
            link.addresses[address] = self._client(zmq.SUB, link, f"tcp://{address}")
        else:
            link.spare.append(address)

    def left(self, member: int, address: Address) -> None:
        """The member is no longer announced at `address`."""
        link = self.links.get(member)
        if link is not None and (socket := link.addresses.pop(address, None)) is not None:
            self._close(socket)
        elif link is not None and address in link.spare:
            link.spare.remove(address)

    def _rotate(self, link: _Link, now_ms: int) -> None:
        """Anybody can announce wrong addresses of a member, and its own old ones stay announced for
        a while: as long as it is silent, try all of them in turn."""
        if not link.spare or now_ms < link.rotate_ms or self.alive(link.member, now_ms):
            return
        link.rotate_ms = now_ms + ROTATE_MS
        address = link.spare.pop()
        if len(link.addresses) >= ADDRESSES_MAX:
            oldest = next(iter(link.addresses))
            self._close(link.addresses.pop(oldest))
            link.spare.appendleft(oldest)
        link.addresses[address] = self._client(zmq.SUB, link, f"tcp://{address}")

    def _close(self, socket: zmq.Socket[bytes]) -> None:
        self._poller.unregister(socket)
        socket.close()

    def receive(self, now_ms: int) -> Iterator[Message]:
        """What came in, a bounded part of it; the rest next turn. Malformed input is dropped."""
        self._authenticate()
        for who, frames in self._drain(self._router):
            if (asked := _parse_request(who, frames, len(self.config.members))) is not None:
                yield asked
        for link in self.links.values():
            self._rotate(link, now_ms)
            for address, socket in list(link.addresses.items()):
                yield from self._published(link, address, socket, now_ms)
            if link.fetch is not None:
                yield from self._fetched(link, link.fetch)

    @staticmethod
    def _drain(socket: zmq.Socket[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
        for _ in range(DRAIN_MAX):
            try:
                first, *rest = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if rest or socket.type == zmq.DEALER:
                yield first, rest

    def _published(
        self, link: _Link, address: Address, socket: zmq.Socket[bytes], now_ms: int
    ) -> Iterator[Message]:
        for kind, (body, *_) in self._drain(socket):
            if kind == b"B":
                yield BlockIn(link.member, body)
            elif kind == b"H":
                yield from self._hear(link, address, body, now_ms)

    def _fetched(self, link: _Link, socket: zmq.Socket[bytes]) -> Iterator[Message]:
        for kind, frames in self._drain(socket):
            if kind in (b"F", b"P"):
                yield from (BlockIn(link.member, frame) for frame in frames)
                if kind == b"P":
                    yield Answered(link.member)
            elif (message := _parse_snapshot(link.member, kind, frames)) is not None:
                yield message

    def _hear(self, link: _Link, address: Address, body: bytes, now_ms: int) -> Iterator[Heard]:
        try:
            heartbeat = _heartbeats.decode(body)
        except msgspec.DecodeError:
            return
        right = (heartbeat.mesh, heartbeat.epoch, heartbeat.member, len(heartbeat.rounds))
        if right != (self.config.id, 0, link.member, len(self.config.members)):
            return
        endpoint = f"tcp://{address.host}:{heartbeat.fetch_port}"
        if endpoint != link.fetch_endpoint and 0 < heartbeat.fetch_port < 2**16:
            if link.fetch is not None:
                self._close(link.fetch)
            link.fetch = self._client(zmq.DEALER, link, endpoint)
            link.fetch_endpoint = endpoint
        link.heard_ms = now_ms
        link.heartbeat = heartbeat
        link.address = str(address)
        yield Heard(link.member, heartbeat)

    def alive(self, member: int, now_ms: int) -> bool:
        link = self.links[member]
        return link.heard_ms >= 0 and now_ms - link.heard_ms < ALIVE_MS

    def publish(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._pub.send_multipart((b"B", block.frame))

    def beat(self, heartbeat: Heartbeat) -> None:
        self._pub.send_multipart((b"H", _encode(heartbeat)))

    def ask(self, requests: Iterable[Wanted | Pull | PartWanted]) -> None:
        """Send requests; one that can't go out now is dropped, consensus asks again."""
        for request in requests:
            link = self.links.get(request.member)
            if link is None or link.fetch is None:
                continue
            match request:
                case Wanted(refs=refs):
                    frames = (b"F", b"".join(ref.digest for ref in refs))
                case Pull(above=above):
                    frames = (b"P", _encode(above))
                case PartWanted(commit=commit, offset=offset):
                    frames = (b"S", _encode((commit, offset)))
            try:
                link.fetch.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                _log.debug("the queue to member %d is full", request.member)

    def answer(self, asked: Asked | Pulled, frames: list[bytes]) -> None:
        kind = b"F" if isinstance(asked, Asked) else b"P"
        self._router.send_multipart((asked.who, kind, *frames))  # a full or gone peer: dropped

    def offer(self, pulled: Pulled, manifest: Manifest, certificate: list[bytes]) -> None:
        self._router.send_multipart((pulled.who, b"M", _encode(manifest), *certificate))

    def send_part(self, asked: PartAsked, data: bytes) -> None:
        place = _encode((asked.commit, asked.offset))
        self._router.send_multipart((asked.who, b"S", place, data))

    def _authenticate(self) -> None:
        """Answer libzmq's question whether a key may connect (ZAP, RFC 27)."""
        for version, frames in self._drain(self._zap):
            request, _domain, address, _identity, mechanism, *credentials = frames
            key = credentials[0] if mechanism == b"CURVE" and credentials else b""
            known = key in self._allowed or self.config.observers == "any"
            allowed = known and key not in (b"", *self._denied)
            if not allowed and (place := address.decode(errors="replace")) not in self._refused:
                if len(self._refused) < QUEUE_MESSAGES_MAX:
                    self._refused.add(place)
                _log.warning("refused a connection from %s: not a key of this mesh", place)
            status = (b"200", b"OK") if allowed else (b"400", b"not a member or observer")
            self._zap.send_multipart((version, request, *status, key.hex().encode(), b""))

    def close(self) -> None:
        for link in self.links.values():
            sockets = [*link.addresses.values(), *([link.fetch] if link.fetch else [])]
            for socket in sockets:
                self._close(socket)
        for socket in (self._router, self._zap):
            self._close(socket)
        self._pub.close()


def _parse_request(
    who: bytes, frames: list[bytes], members: int
) -> Asked | Pulled | PartAsked | None:
    """What somebody asks for; None where that is nothing we know."""
    if len(frames) != 2:
        return None
    kind, body = frames
    try:
        if kind == b"F" and 0 < len(body) <= REFS_PER_REQUEST_MAX * DIGEST_BYTES:
            cuts = range(0, len(body), DIGEST_BYTES)
            return Asked(who, tuple(body[cut : cut + DIGEST_BYTES] for cut in cuts))
        if kind == b"P":
            rounds = _vectors.decode(body)
            if len(rounds) == members and all(-1 <= round_ < 2**48 for round_ in rounds):
                return Pulled(who, rounds)
        if kind == b"S":
            commit, offset = _places.decode(body)
            if 0 < commit < 2**48 and 0 <= offset < SNAPSHOT_BYTES_MAX:
                return PartAsked(who, commit, offset)
    except msgspec.DecodeError:
        pass
    return None


def _parse_snapshot(member: int, kind: bytes, frames: list[bytes]) -> Offered | PartIn | None:
    """What a member says of its snapshot; None where it makes no sense."""
    try:
        if kind == b"M" and 1 <= len(frames) <= 1 + MEMBERS_MAX:
            return Offered(member, _manifests.decode(frames[0]), frames[1:])
        if kind == b"S" and len(frames) == 2:
            return PartIn(member, *_places.decode(frames[0]), frames[1])
    except msgspec.DecodeError:
        pass
    return None
