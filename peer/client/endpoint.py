"""The node's local socket, over which programs on its machine speak `protocol`.

Owns the ROUTER and the folder of its file: inside the peer's data folder, where no other user can
create it first. Must never know what a request does: the node answers.
"""

import atexit
import contextlib
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq

from peer.client.programs import UNREAD_BUSY, UNREAD_MAX, Caller, Programs
from peer.client.protocol import (
    Refused,
    Reply,
    Request,
    Streamed,
    Unsubscribe,
    Unsubscribed,
    Update,
)
from peer.process.poller import Poller

REQUEST_BYTES_MAX = 4 * 1024 * 1024
REQUEST_ID_BYTES_MAX = 16
REQUESTS_PER_TURN_MAX = 100
QUEUE_MESSAGES_MAX = 10_000  # per program, each way
FOLDER = "local"  # in the data folder
PATH_BYTES_MAX = 96  # of the folder: with the socket's name, within the limit of all systems
_SCHEME = "ipc://"
_MORE = zmq.NOBLOCK | zmq.SNDMORE

_requests = msgspec.msgpack.Decoder(Request)
_encode = msgspec.msgpack.Encoder().encode
_TYPE = _encode("type")  # the first field of a request, after the byte with the number of fields
_log = logging.getLogger(__name__)


class Endpoint(NamedTuple):
    """The ZeroMQ address of a node's local socket."""

    address: str


def endpoint(data: Path) -> Endpoint:
    """The address on which the node with this data folder listens while it runs. FileNotFoundError
    if there is no such folder."""
    if not data.is_dir():
        raise FileNotFoundError(f"there is no peer's data folder {data}")
    data = data.resolve()
    if len(os.fsencode(data / FOLDER)) > PATH_BYTES_MAX:
        data = _short(data)
    return Endpoint(f"{_SCHEME}{data / FOLDER}/node")


@functools.cache
def _short(data: Path) -> Path:
    """A short path to the same folder: a link in a private folder of this process."""
    link = Path(tempfile.mkdtemp(prefix="p2p-orderbook-")) / "data"
    atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
    link.symlink_to(data)
    return link


def _make(folder: Path) -> None:
    """Make the folder of the socket, which only this user can enter. OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user alone (mode 700)")


def parse(frames: list[bytes]) -> tuple[Caller, Request | Refused] | None:
    """The caller and its request, or the refusal to send; None if no answer is possible."""
    if len(frames) != 3 or len(frames[1]) > REQUEST_ID_BYTES_MAX:
        return None
    caller = Caller(frames[0], frames[1])
    if not frames[2].startswith(_TYPE, 1):  # else msgspec would skip any values before it
        return caller, Refused("invalid", "not a request: its first field is not its type")
    try:
        return caller, _requests.decode(frames[2])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return caller, Refused("invalid", f"not a request: {error}")


class Local:
    """The constructor binds the endpoint. OSError if that is impossible."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoint, poller: Poller
    ) -> None:
        self._where = where
        self._file = Path(where.address.removeprefix(_SCHEME))
        self._warned = ""  # the last warning about a missing file
        self._ignored = b""  # the last program that was ignored
        self._programs = Programs(self._send)
        self._poller = poller
        self._router = context.socket(zmq.ROUTER)
        self._router.maxmsgsize = REQUEST_BYTES_MAX
        self._router.router_mandatory = True  # else messages without room would be dropped silently
        self._router.sndhwm = self._router.rcvhwm = QUEUE_MESSAGES_MAX
        self._router.linger = 500
        self._bind()
        poller.register(self._router)

    def _bind(self) -> None:
        _make(self._file.parent)
        try:
            self._router.bind(self._where.address)
        except zmq.ZMQError as error:
            raise OSError(f"cannot listen at {self._where.address}: {error.strerror}") from None

    def renew(self) -> None:
        """Listen again if the socket's file was removed. Call it now and then. Connections stay."""
        if self._file.exists():
            return
        with contextlib.suppress(zmq.ZMQError):  # it failed last time
            self._router.unbind(self._where.address)
        try:
            self._bind()
            text = f"{self._file} was removed: made again"
        except OSError as error:
            text = f"local programs cannot reach this peer: {error}"
        if text != self._warned:
            _log.warning("%s", text)
        self._warned = text

    def receive(self) -> Iterator[tuple[Caller, Request]]:
        """Up to REQUESTS_PER_TURN_MAX requests; the rest come next turn. Refuses invalid requests.
        Also yields subscriptions that lost updates, to start them again."""
        yield from self._programs.starting_again()
        for frames in self._poller.read(self._router, REQUESTS_PER_TURN_MAX):
            parsed = parse([frame.bytes for frame in frames])
            if parsed is None:
                continue
            caller, request = parsed
            unread = self._programs.unread(caller.connection)
            if unread >= UNREAD_MAX:
                self._ignore(caller.connection)
            elif isinstance(request, Refused):
                self.reply(caller, request)
            elif unread >= UNREAD_BUSY:
                text = f"{unread} answers wait for this program: it must read them first"
                self.reply(caller, Refused("busy", text))
            elif isinstance(request, Unsubscribe):
                self._programs.unsubscribe(caller)
                self.reply(caller, Unsubscribed())
            else:
                yield caller, request

    def rest(self, time_ms: int) -> None:
        """Wait for so long, or until a request comes."""
        self._poller.gather(self._router, time_ms)

    def _ignore(self, connection: bytes) -> None:
        if connection != self._ignored:
            self._ignored = connection
            _log.warning("a local program does not read its answers: its requests are ignored")

    def _send(self, caller: Caller, body: bytes) -> bool:
        send = self._router.send  # send_multipart takes twice as long
        self._poller.sent(self._router)
        try:
            send(caller.connection, _MORE)  # only the first part can fail
            send(caller.request, _MORE)
            send(body, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            raise ConnectionError("this program has disconnected") from None
        return True

    def reply(self, caller: Caller, reply: Reply) -> None:
        self._programs.reply(caller, reply)

    def subscribe(
        self, caller: Caller, topics: list[str], state_of: Callable[[str], Streamed | Refused]
    ) -> None:
        self._programs.subscribe(caller, topics, state_of)

    def hears(self, topic: str) -> bool:
        """Whether a program has subscribed to the topic."""
        return self._programs.hears(topic)

    def heard(self, kind: str) -> set[str]:
        """The names of the topics of a kind to which a program has subscribed."""
        return self._programs.heard(kind)

    def seq(self, topic: str) -> int:
        return self._programs.seq(topic)

    def publish(self, update: Update, topic: str) -> None:
        self._programs.publish(update, topic)

    def start_again(self) -> None:
        self._programs.start_again()

    def close(self) -> None:
        self._poller.unregister(self._router)
        self._router.close()
