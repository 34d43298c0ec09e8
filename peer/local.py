"""The wires between a node and the programs on its machine: `api` spoken over two local sockets.

Owns the ROUTER that takes requests and the XPUB that carries the feed. Must never know what a
request does: the node answers.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq

from peer.api import FeedMessage, Refused, Reply, Request, topic

REQUEST_BYTES_MAX = 4 * 1024 * 1024
REQUEST_ID_BYTES_MAX = 16
REQUESTS_PER_TURN_MAX = 100
QUEUE_MESSAGES_MAX = 10_000

_requests = msgspec.msgpack.Decoder(Request)
_encode = msgspec.msgpack.Encoder().encode
_TYPE = _encode("type")  # the first field of a request, after the byte that counts its fields


class Caller(NamedTuple):
    """Where an answer goes: a connection and the request id it chose."""

    connection: bytes
    request: bytes


class Endpoints(NamedTuple):
    """ZeroMQ addresses of a node's local sockets."""

    node: str
    feed: str


def endpoints(data: Path) -> Endpoints:
    """Where the node with this data folder listens: sockets in a folder only its user can enter.
    Not in the data folder itself, since a Unix socket's path has 107 characters at most."""
    folder = Path(tempfile.gettempdir()) / f"p2p-orderbook-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise OSError(f"{folder} must belong to this user alone (mode 700)")
    name = hashlib.blake2b(str(data.resolve()).encode(), digest_size=8).hexdigest()
    return Endpoints(f"ipc://{folder}/{name}.node", f"ipc://{folder}/{name}.feed")


def parse(frames: list[bytes]) -> tuple[Caller, Request | Refused] | None:
    """Who asks what, or the words to refuse it with; None where nobody could be answered."""
    if len(frames) != 3 or len(frames[1]) > REQUEST_ID_BYTES_MAX:
        return None
    caller = Caller(frames[0], frames[1])
    if not frames[2].startswith(_TYPE, 1):  # or msgspec would skip whatever is before it
        return caller, Refused("invalid", "not a request: its first field is not its type")
    try:
        return caller, _requests.decode(frames[2])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return caller, Refused("invalid", f"not a request: {error}")


class Local:
    """Constructing binds both endpoints."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints, poller: zmq.Poller
    ) -> None:
        self.subscribed: set[bytes] = set()  # topics somebody listens to
        self.new_listeners: list[bytes] = []  # topics somebody began to listen to, once each
        self._seqs: dict[bytes, int] = {}
        self._poller = poller
        self._router = context.socket(zmq.ROUTER)
        self._router.maxmsgsize = REQUEST_BYTES_MAX
        self._feed = context.socket(zmq.XPUB)
        for socket, endpoint in ((self._router, where.node), (self._feed, where.feed)):
            socket.linger = 500
            if socket is self._feed:
                socket.xpub_verbose = True
            socket.sndhwm = socket.rcvhwm = QUEUE_MESSAGES_MAX
            socket.bind(endpoint)
            poller.register(socket, zmq.POLLIN)

    def receive(self) -> Iterator[tuple[Caller, Request]]:
        """The requests that came, a bounded number of them; the rest next turn. One that is not
        understood is refused here."""
        self._note_subscriptions()
        for _ in range(REQUESTS_PER_TURN_MAX):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            parsed = parse(frames)
            if parsed is None:
                continue
            caller, request = parsed
            if isinstance(request, Refused):
                self.reply(caller, request)
            else:
                yield caller, request

    def _note_subscriptions(self) -> None:
        while True:
            try:
                message = self._feed.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if message[:1] == b"\x01":
                self.subscribed.add(message[1:])
                self.new_listeners.append(message[1:])
            else:
                self.subscribed.discard(message[1:])

    def reply(self, caller: Caller, reply: Reply) -> None:
        self._router.send_multipart((*caller, _encode(reply)))

    def seq(self, kind: str, name: str = "") -> int:
        """The seq of the newest message of a topic."""
        return self._seqs.get(topic(kind, name), 0)

    def next_seq(self, kind: str, name: str = "") -> int:
        key = topic(kind, name)
        seq = self._seqs[key] = self._seqs.get(key, 0) + 1
        return seq

    def lose(self, kind: str) -> None:
        """Make all listeners of a kind of topic see a gap, so that they ask for the state."""
        prefix = topic(kind)[:-1]
        for key in self._seqs:
            if key.startswith(prefix):
                self._seqs[key] += 1

    def publish(self, message: FeedMessage, kind: str, name: str = "") -> None:
        self._feed.send_multipart((topic(kind, name), _encode(message)))

    def close(self) -> None:
        for socket in (self._router, self._feed):
            self._poller.unregister(socket)
            socket.close()
