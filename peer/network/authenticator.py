"""Encryption and authentication of every network socket: which peers may connect.

Owns the allowed keys and the answers to libzmq's question about each connection (ZAP, RFC 27). Must
never know the content of a connection.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import zmq

from peer.membership.identity import Identity, curve_public
from peer.membership.mesh_file import MeshConfig
from peer.process.poller import Poller

PLACES_LOGGED_MAX = 1_000
ANSWERS_PER_TURN_MAX = 200

_PUBLIC = b"public"  # the domain of sockets for anybody

_log = logging.getLogger(__name__)


class Asker(NamedTuple):
    """The sender of a message: a member by its key, any other sender by its address."""

    is_member: bool
    name: str


class Authenticator:
    """The constructor binds: there is one authenticator per ZeroMQ context."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        config: MeshConfig,
        identity: Identity,
        poller: Poller,
    ) -> None:
        self.refused = 0
        self._identity = identity
        self._poller = poller
        self._members = {curve_public(member.public) for member in config.members}
        self._is_open = config.observers == "any"
        listed = config.observers if config.observers != "any" else ()
        self._observers = {curve_public(bytes.fromhex(key)) for key in listed}
        self._denied: set[bytes] = set()
        self._logged: set[str] = set()
        self._zap = context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind("inproc://zeromq.zap.01")
        poller.register(self._zap)

    def serve(self, socket: zmq.Socket[bytes], public_as: Identity | None = None) -> None:
        """Call before `bind`: only allowed keys get past the handshake. With `public_as`, a key
        that others know too: any key does."""
        self._own(socket, public_as)
        socket.curve_server = True
        socket.zap_domain = _PUBLIC if public_as else b"mesh"

    def join(self, socket: zmq.Socket[bytes], server_key: bytes) -> None:
        """Call before `connect`: link only to the holder of this CURVE key."""
        self._own(socket)
        socket.curve_serverkey = server_key

    def _own(self, socket: zmq.Socket[bytes], public_as: Identity | None = None) -> None:
        identity = public_as or self._identity
        socket.curve_secretkey = identity.curve_secret
        socket.curve_publickey = identity.curve_public

    def admit(self, keys: Iterable[bytes]) -> None:
        """The holders of these CURVE keys are members."""
        self._members.update(keys)

    def let_listen(self, keys: Iterable[bytes]) -> None:
        """The holders of these CURVE keys may connect, as observers may."""
        self._observers.update(keys)

    def dismiss(self, key: bytes) -> None:
        """The holder of this CURVE key is no member any more."""
        self._members.discard(key)

    def deny(self, key: bytes) -> None:
        """The holder of this CURVE key can connect no more, and its messages are dropped."""
        self._denied.add(key)

    def asker(self, frame: zmq.Frame) -> Asker | None:
        """The sender of a frame; None if its messages are dropped."""
        key = bytes.fromhex(str(frame.get("User-Id")))
        if key in self._denied:
            return None
        if key in self._members:
            return Asker(True, key.hex())
        return Asker(False, str(frame.get("Peer-Address")))

    def answer(self) -> None:
        """Tell libzmq which waiting connections are allowed, a bounded number per call."""
        for parts in self._poller.read(self._zap, ANSWERS_PER_TURN_MAX):
            version, *frames = (part.bytes for part in parts)
            request, domain, address, _identity, mechanism, *credentials = frames
            key = credentials[0] if mechanism == b"CURVE" and credentials else b""
            allowed = self._allows(key, domain)
            if not allowed:
                self._refuse(address.decode(errors="replace"))
            status = (b"200", b"OK") if allowed else (b"400", b"not a member or observer")
            self._zap.send_multipart((version, request, *status, key.hex().encode(), b""))

    def _allows(self, key: bytes, domain: bytes) -> bool:
        known = key in self._members or key in self._observers or self._is_open
        return (known or domain == _PUBLIC) and key != b"" and key not in self._denied

    def _refuse(self, place: str) -> None:
        """Count a refusal; log it once per place, for a limited number of places."""
        self.refused += 1
        if place not in self._logged and len(self._logged) < PLACES_LOGGED_MAX:
            self._logged.add(place)
            _log.warning("refused a connection from %s: not a key of this mesh", place)

    def close(self) -> None:
        self._poller.unregister(self._zap)
        self._zap.close()
