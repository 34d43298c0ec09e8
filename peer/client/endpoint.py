"""The wires between a node and the programs on its machine: `api` spoken over two local sockets.

Owns the ROUTER that takes requests and the XPUB that carries the feed, and the folder they are in:
in the peer's own data folder, where nobody else can be first. Must never know what a request does:
the node answers.
"""

import atexit
import contextlib
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq

from peer.client.protocol import FeedMessage, Refused, Reply, Request, topic

REQUEST_BYTES_MAX = 4 * 1024 * 1024
REQUEST_ID_BYTES_MAX = 16
REQUESTS_PER_TURN_MAX = 100
QUEUE_MESSAGES_MAX = 10_000
FOLDER = "local"  # in the data folder
PATH_BYTES_MAX = 96  # of a folder of Unix sockets: with their names, what all systems take
_SCHEME = "ipc://"

_requests = msgspec.msgpack.Decoder(Request)
_encode = msgspec.msgpack.Encoder().encode
_TYPE = _encode("type")  # the first field of a request, after the byte that counts its fields
_log = logging.getLogger(__name__)


class Caller(NamedTuple):
    """Where an answer goes: a connection and the request id it chose."""

    connection: bytes
    request: bytes


class Endpoints(NamedTuple):
    """ZeroMQ addresses of a node's local sockets."""

    node: str
    feed: str


def endpoints(data: Path) -> Endpoints:
    """Where the node with this data folder listens, once it runs. FileNotFoundError without such a
    folder."""
    if not data.is_dir():
        raise FileNotFoundError(f"there is no peer's data folder {data}")
    data = data.resolve()
    if len(os.fsencode(data / FOLDER)) > PATH_BYTES_MAX:
        data = _short(data)
    return Endpoints(f"{_SCHEME}{data / FOLDER}/node", f"{_SCHEME}{data / FOLDER}/feed")


@functools.cache
def _short(data: Path) -> Path:
    """The same folder by a short name, that of a link in a folder of this process alone."""
    link = Path(tempfile.mkdtemp(prefix="p2p-orderbook-")) / "data"
    atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
    link.symlink_to(data)
    return link


def _make(folder: Path) -> None:
    """The folder of the sockets, which only this user can enter. OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user alone (mode 700)")


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


def _file(endpoint: str) -> Path:
    return Path(endpoint.removeprefix(_SCHEME))


class Local:
    """Constructing binds both endpoints. OSError if that cannot be."""

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
        self._places = ((self._router, where.node), (self._feed, where.feed))
        self._said = ""  # of a file that was gone, last
        for socket, endpoint in self._places:
            socket.linger = 500
            if socket is self._feed:
                socket.xpub_verbose = True
            socket.sndhwm = socket.rcvhwm = QUEUE_MESSAGES_MAX
            self._bind(socket, endpoint)
            poller.register(socket, zmq.POLLIN)

    def _bind(self, socket: "zmq.Socket[bytes]", endpoint: str) -> None:
        _make(_file(endpoint).parent)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise OSError(f"cannot listen at {endpoint}: {error.strerror}") from None

    def renew(self) -> None:
        """Listen again where somebody has removed a socket's file. Call it now and then. What is
        connected stays so."""
        for socket, endpoint in self._places:
            if _file(endpoint).exists():
                continue
            with contextlib.suppress(zmq.ZMQError):  # it failed last time
                socket.unbind(endpoint)
            try:
                self._bind(socket, endpoint)
                said = f"{_file(endpoint)} was gone: made anew"
            except OSError as error:
                said = f"local programs cannot reach this peer: {error}"
            if said != self._said:
                _log.warning("%s", said)
            self._said = said

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
