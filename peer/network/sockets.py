"""Creates the network sockets of a node: their limits, encryption and timeouts.

Owns the options for libzmq and the kernel. Must never send or receive.

Nothing here waits for ZeroMQ's own heartbeats: messages show whether the other end is alive. The
peer subscribes again to a member that is not heard. It asks one that does not answer over a new
connection. The kernel handles the other end of both: it closes connections that can send nothing
more, or that are idle and lead nowhere.
"""

import logging

import zmq

from peer.consensus.block import FRAME_BYTES_MAX
from peer.membership.identity import Identity
from peer.network.authenticator import Authenticator
from peer.network.links import QUEUE_MESSAGES_MAX
from peer.network.messages import REQUEST_BYTES_MAX
from peer.process.descriptors import is_full
from peer.process.poller import Poller

CURVE_BYTES = 64  # added to a frame by encryption, at most
SUBSCRIPTION_QUEUE_MAX = 8  # per connection
SUBSCRIPTION_BYTES_MAX = 1_024  # a subscription, or a part of the handshake
SUB_QUEUE_MAX = 256  # messages of one member, not taken in yet
REQUEST_QUEUE_MAX = 64  # requests of one connection
ANSWER_QUEUE_MAX = 8  # answers to or from one connection
HANDSHAKE_MS = 5_000
RECONNECT_MS = 100  # at first; doubled each time, up to
RECONNECT_MS_MAX = 2_000
NEVER = -1  # libzmq's value for it
IDLE_S = 10  # then the kernel checks whether the other end is still there,
UNACKNOWLEDGED_MS = 20_000  # and gives up data that is unacknowledged for this long

_LIMITS = {  # per kind of socket: messages to send, messages to receive, bytes of an incoming frame
    zmq.XPUB: (QUEUE_MESSAGES_MAX, SUBSCRIPTION_QUEUE_MAX, SUBSCRIPTION_BYTES_MAX),
    zmq.SUB: (QUEUE_MESSAGES_MAX, SUB_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
    zmq.ROUTER: (ANSWER_QUEUE_MAX, REQUEST_QUEUE_MAX, REQUEST_BYTES_MAX),
    zmq.DEALER: (REQUEST_QUEUE_MAX, ANSWER_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
}

_log = logging.getLogger(__name__)


class Sockets:
    """Makes sockets of one context, and registers them with one poller."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        authenticator: Authenticator,
        poller: Poller,
    ) -> None:
        self._context = context
        self._authenticator = authenticator
        self._poller = poller
        self._lacked = False  # descriptors

    def serve(
        self, kind: zmq.SocketType, host: str, port: int, public_as: Identity | None = None
    ) -> tuple[zmq.Socket[bytes], int]:
        """A socket others connect to, and its port; anybody with `public_as`. OSError if it can't
        be bound."""
        socket = self._socket(kind)
        self._authenticator.serve(socket, public_as)
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        endpoint = socket.last_endpoint
        assert isinstance(endpoint, bytes)
        self._poller.register(socket)
        return socket, int(endpoint.rstrip(b"\0").rpartition(b":")[2])

    def connect(
        self, kind: zmq.SocketType, server_key: bytes, endpoint: str, lasting: bool = True
    ) -> zmq.Socket[bytes] | None:
        """A socket to the holder of this CURVE key; `lasting` ones reconnect. None if it can't be
        made now."""
        try:
            socket = self._socket(kind)
        except zmq.ZMQError as error:
            if not is_full(error):
                raise
            if not self._lacked:
                _log.error(
                    "no file descriptor is free for a connection to a member: retrying later"
                )
            self._lacked = True
            return None
        socket.reconnect_ivl = RECONNECT_MS if lasting else NEVER
        socket.reconnect_ivl_max = RECONNECT_MS_MAX if lasting else 0
        self._authenticator.join(socket, server_key)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            _log.debug("cannot connect to %s now: %s", endpoint, error)
            socket.close()
            return None
        self._poller.register(socket)
        return socket

    def _socket(self, kind: zmq.SocketType) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.handshake_ivl = HANDSHAKE_MS
        socket.sndhwm, socket.rcvhwm, socket.maxmsgsize = _LIMITS[kind]
        socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, IDLE_S
        socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = IDLE_S // 2, 2
        socket.tcp_maxrt = UNACKNOWLEDGED_MS
        return socket

    def close(self, socket: zmq.Socket[bytes]) -> None:
        self._poller.unregister(socket)
        socket.close()
