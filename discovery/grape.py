"""A client of the Grenache Grape: announce, look up, put, get, over its HTTP API.

Owns the conversation with the grapes: framing, limits, the meaning of each error, and the choice of
the grape to ask. Must never keep an address, decide which peer is alive, or trust a reply: an
address is a hint, and the program that answers there has to prove who it is.

Errors, all of them GrapeError:

    BadInputError      the arguments do not fit the API; nothing was sent; also a ValueError
    UnreachableError   no grape answered in time
    MalformedError     something answered, but not as a Grape does
    RefusedError       a Grape answered with an error; `reason` is the Grape's own text
    ClosedError        close() was called before or during the call

A Grape reports most errors with status 200 and a JSON string, so the type of a reply decides, not
its status. A call blocks for up to `timeout_s` per grape and request (announce makes two requests):
do not call from an event loop. Several threads may call at once.

The API is that of grenache-grape 1.0.0 (npm), and the tests run against the real program.
"""

import hashlib
import http
import http.client
import ipaddress
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import msgspec

NAME_BYTES_MAX = 512
VALUE_BYTES_MAX = 999
REPLY_BYTES_MAX = 64 * 1024
REASON_CHARS_MAX = 200
GRAPES_MAX = 16
TIMEOUT_S = 6.0  # a grape whose neighbour is dead answers a lookup after as much as 4.8 s

# The type limits how deeply a reply nests; no reply of a Grape nests deeper.
_Leaf = str | int | float | bool | None
_Flat = _Leaf | list[_Leaf] | dict[str, _Leaf]
_replies = msgspec.json.Decoder(_Leaf | list[_Flat] | dict[str, _Flat])
# A Grape answers so if it could not parse a request, or its handler threw: the body says why.
_REFUSALS = (http.HTTPStatus.INTERNAL_SERVER_ERROR, http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

_Answer = TypeVar("_Answer")


class GrapeError(Exception):
    """Any failure of a call to the grapes."""


class BadInputError(GrapeError, ValueError):
    """The argument cannot be sent to a Grape."""


class UnreachableError(GrapeError):
    """No grape answered in time."""


class MalformedError(GrapeError):
    """The reply is not one that a Grape gives."""


class RefusedError(GrapeError):
    """The Grape answered with an error. `reason` is its own text, such as "ERR_GRAPE_LOOKUP"."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClosedError(GrapeError):
    """close() was called."""


class Address(NamedTuple):
    """Where a service may be: an IPv4 address and a TCP port, from a lookup."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Grape:
    """A client of one or more grapes of the same DHT.

    `urls` are their HTTP APIs, like "http://127.0.0.1:30001". A call asks one grape after another
    until one answers, and begins with the one that answered last. `timeout_s` limits one request
    to one grape, from connecting to the last byte. Raises BadInputError.
    """

    def __init__(self, urls: Sequence[str], timeout_s: float = TIMEOUT_S) -> None:
        if isinstance(urls, str) or not 1 <= len(urls) <= GRAPES_MAX:
            raise BadInputError(f"expected a list of 1 to {GRAPES_MAX} grape URLs, got {urls!r}")
        if not timeout_s > 0:
            raise BadInputError(f"expected a timeout above 0 seconds, got {timeout_s!r}")
        self._endpoints = [_endpoint(url) for url in urls]
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._first = 0
        self._open: set[_Connection] = set()
        self._closed = False

    @property
    def urls(self) -> list[str]:
        """The grapes' HTTP APIs, in the order given."""
        return [endpoint.url for endpoint in self._endpoints]

    def announce(self, name: str, port: int) -> int:
        """Announce that this host serves `name` on TCP `port`; returns how many grapes stored it.

        A lookup returns the host of the grape that was asked, so ask one on your own host. Repeat
        well within the grapes' maximum age (two minutes as run here). An announcement cannot be
        withdrawn. Raises any GrapeError.
        """
        check_name(name)
        check_port(port)

        def ask(endpoint: "_Endpoint") -> int:
            # A grape sends an announcement to the nodes that its last lookup of the name found.
            # It keeps them for up to five minutes, even dead ones. A lookup renews them.
            self._request(endpoint, "lookup", name)
            stored = self._request(endpoint, "announce", [name, port])
            if type(stored) is not int:
                raise MalformedError(f"{endpoint.url} answered announce with {_shown(stored)}")
            return stored

        return self._first_answer(ask)

    def lookup(self, name: str) -> list[Address]:
        """Where `name` was announced: 0 to 100 distinct addresses, in no order.

        If more than 100 were announced, each call returns a random hundred. The address of a dead
        service stays for up to twice the grapes' maximum age. Raises any GrapeError.
        """
        check_name(name)

        def ask(endpoint: "_Endpoint") -> list[Address]:
            found = self._request(endpoint, "lookup", name)
            if not isinstance(found, list):
                raise MalformedError(f"{endpoint.url} answered lookup with {_shown(found)}")
            addresses = (_address(entry) for entry in found)
            return list(dict.fromkeys(address for address in addresses if address is not None))

        return self._first_answer(ask)

    def put(self, text: str) -> str:
        """Store a text of up to 999 bytes of UTF-8; returns its hash, 40 hex digits.

        Grapes keep values in memory only and forget the least recently used. Raises any
        GrapeError.
        """
        size = len(_utf8(text, "value"))
        if size > VALUE_BYTES_MAX:
            raise BadInputError(f"expected a value of at most {VALUE_BYTES_MAX} bytes, got {size}")
        expected = value_hash(text)

        def ask(endpoint: "_Endpoint") -> str:
            stored = self._request(endpoint, "put", {"v": text})
            if stored != expected:
                raise MalformedError(f"{endpoint.url} answered put with {_shown(stored)}")
            return expected

        return self._first_answer(ask)

    def get(self, hash_: str) -> str | None:
        """The text stored under the hash, or None if no grape has it.

        The reply is checked against the hash. Raises any GrapeError; MalformedError also if the
        value is not a text.
        """
        if not isinstance(hash_, str) or not re.fullmatch("[0-9a-fA-F]{40}", hash_):
            raise BadInputError(f"expected a hash of 40 hex digits, got {_shown(hash_)}")

        def ask(endpoint: "_Endpoint") -> str | None:
            found = self._request(endpoint, "get", hash_)
            if found is None:
                return None
            text = found.get("v") if isinstance(found, dict) else None
            if not isinstance(text, str) or value_hash(text) != hash_.lower():
                raise MalformedError(f"{endpoint.url} answered get with {_shown(found)}")
            return text

        return self._first_answer(ask)

    def call(self, verb: str, data: Any) -> Any:
        """Any request of the API that has no method here; returns the decoded reply.

        `verb` is the path without its slash; `data` must be JSON-serializable (else TypeError).
        None stands for an empty reply. Nothing is checked. Raises any GrapeError.
        """
        return self._first_answer(lambda endpoint: self._request(endpoint, verb, data))

    def close(self) -> None:
        """End calls in other threads with ClosedError, and refuse later calls."""
        with self._lock:
            self._closed = True
            for connection in self._open:
                connection.interrupt()

    def _first_answer(self, ask: "Callable[[_Endpoint], _Answer]") -> _Answer:
        failures: list[GrapeError] = []
        for step in range(len(self._endpoints)):
            index = (self._first + step) % len(self._endpoints)
            try:
                answer = ask(self._endpoints[index])
            except (RefusedError, UnreachableError, MalformedError) as error:
                failures.append(error)  # most refusals are about that grape's neighbours only
            else:
                self._first = index
                return answer
        raise _summary(failures)

    def _request(self, endpoint: "_Endpoint", verb: str, data: Any) -> Any:
        """One request to one grape; None stands for an empty body."""
        body = json.dumps({"rid": "0", "data": data}).encode()
        connection = _Connection(endpoint.host, endpoint.port, time.monotonic() + self._timeout_s)
        try:
            with self._interruptible(connection):
                status, reply = connection.post(f"/{verb}", body)
        except (OSError, http.client.HTTPException) as error:
            if self._closed:
                raise ClosedError("the client was closed") from error
            raise UnreachableError(
                f"{endpoint.url}: {str(error) or type(error).__name__}"
            ) from error
        return _decode(endpoint, verb, status, reply)

    @contextmanager
    def _interruptible(self, connection: "_Connection") -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ClosedError("the client was closed")
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def value_hash(text: str) -> str:
    """What put() returns for a text: SHA-1 of its bencoding, as in BEP 44."""
    value = text.encode()
    return hashlib.sha1(b"%d:%b" % (len(value), value), usedforsecurity=False).hexdigest()


class _Endpoint(NamedTuple):
    url: str
    host: str
    port: int


class _DeadlineSocket(socket.socket):
    """Each read waits only until the deadline: a grape that drips bytes cannot hold the caller."""

    deadline_s = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left_s)
        return super().recv_into(*args, **kwargs)


class _Connection(http.client.HTTPConnection):
    """One request, one reply, one deadline (of the monotonic clock)."""

    def __init__(self, host: str, port: int, deadline_s: float) -> None:
        super().__init__(host, port)
        self._deadline_s = deadline_s

    def connect(self) -> None:
        left_s = max(self._deadline_s - time.monotonic(), 0.001)
        plain = socket.create_connection((self.host, self.port), left_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body go separately
        self.sock = _DeadlineSocket(fileno=plain.detach())
        self.sock.deadline_s = self._deadline_s
        self.sock.settimeout(left_s)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        self.request("POST", path, body, headers)
        with self.getresponse() as response:
            return response.status, response.read(REPLY_BYTES_MAX + 1)

    def interrupt(self) -> None:
        """Make the current or the next read fail. Another thread calls this."""
        self._deadline_s = 0.0
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


def _decode(endpoint: _Endpoint, verb: str, status: int, reply: bytes) -> Any:
    """The value of a reply, None for an empty one. Raises RefusedError or MalformedError."""
    where = f"{endpoint.url} answered {verb} with"
    if len(reply) > REPLY_BYTES_MAX:
        raise MalformedError(f"{where} more than {REPLY_BYTES_MAX} bytes")
    if status != http.HTTPStatus.OK:
        text = reply.decode(errors="replace").strip()
        if status in _REFUSALS and text:
            raise RefusedError(f"{where} HTTP {status}: {_shown(text)}", text[:REASON_CHARS_MAX])
        raise MalformedError(f"{where} HTTP {status}: {_shown(text)}")
    if not reply:
        return None
    try:
        value = _replies.decode(reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"{where} {_shown(reply)}, which is not JSON") from error
    if isinstance(value, str) and not (verb == "put" and re.fullmatch("[0-9a-f]{40}", value)):
        raise RefusedError(f"{where} {_shown(value)}", value[:REASON_CHARS_MAX])
    return value


def _summary(failures: Sequence[GrapeError]) -> GrapeError:
    """One error for all grapes that were asked. A refusal says more than silence."""
    if len(failures) == 1:
        return failures[0]
    message = "; ".join(str(failure) for failure in failures)
    for failure in failures:
        if isinstance(failure, RefusedError):
            return RefusedError(message, failure.reason)
    if all(isinstance(failure, MalformedError) for failure in failures):
        return MalformedError(message)
    return UnreachableError(message)


def _endpoint(url: str) -> _Endpoint:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError) as error:
        raise BadInputError(f"not a grape URL: {url!r} ({error})") from error
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme != "http" or not parts.hostname or not port or not plain:
        raise BadInputError(f"expected a grape URL like http://127.0.0.1:30001, got {url!r}")
    return _Endpoint(f"http://{parts.netloc}", parts.hostname, port)


def _address(entry: object) -> Address | None:
    """An address that could be connected to, or None: a Grape can also return 0.0.0.0."""
    host, colon, port = entry.rpartition(":") if isinstance(entry, str) else ("", "", "")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        return None
    try:
        parsed = ipaddress.IPv4Address(host)
    except ValueError:
        return None
    if parsed.is_unspecified or parsed.is_multicast or host == "255.255.255.255":
        return None
    return Address(host, int(port))


def check_name(name: str) -> None:
    """Raises BadInputError unless the name can be announced and looked up."""
    size = len(_utf8(name, "name"))
    if not 1 <= size <= NAME_BYTES_MAX:
        raise BadInputError(f"expected a name of 1 to {NAME_BYTES_MAX} bytes, got {size}")


def check_port(port: int) -> None:
    """Raises BadInputError unless it is a TCP port. For 0 a Grape would store its own port."""
    if type(port) is not int or not 1 <= port <= 65535:
        raise BadInputError(f"expected a port from 1 to 65535, got {port!r}")


def _utf8(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise BadInputError(f"expected the {what} as text, got {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(f"the {what} cannot be written as UTF-8: {error}") from error


def _shown(value: object) -> str:
    """A value from outside, short enough for an error message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
