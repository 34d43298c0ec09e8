"""How the network sockets of a node are made: their limits, their encryption, their patience.

Owns what libzmq and the kernel are asked for. Must never send or receive.

Nothing here waits for ZeroMQ's own heartbeats: messages show whether the other end is alive.
A member that is not heard is subscribed to anew, one that does not answer is asked over a new
connection. What is left to the kernel is the other end of both: connections over which nothing can
be sent any more, or that are idle and lead nowhere, are closed.
"""

import logging

import zmq

from peer.consensus.block import FRAME_BYTES_MAX
from peer.network.authenticator import Gate
from peer.network.links import QUEUE_MESSAGES_MAX
from peer.network.messages import REQUEST_BYTES_MAX
from peer.process.descriptors import is_full

CURVE_BYTES = 64  # what encryption adds to a frame, at most
SUBSCRIPTION_QUEUE_MAX = 8  # of one connection
SUBSCRIPTION_BYTES_MAX = 1_024  # a subscription, or a part of the handshake
SUB_QUEUE_MAX = 256  # messages of one member, not taken in yet
REQUEST_QUEUE_MAX = 64  # requests of one connection
ANSWER_QUEUE_MAX = 8  # answers to or from one connection
HANDSHAKE_MS = 5_000
RECONNECT_MS = 100  # at first; twice as long each time, up to
RECONNECT_MS_MAX = 2_000
NEVER = -1  # libzmq's word for it
IDLE_S = 10  # then the kernel looks whether the other end is still there,
UNACKNOWLEDGED_MS = 20_000  # and gives up what was sent for so long in vain

_LIMITS = {  # of each kind of socket: messages to send, to take in, bytes of a frame that comes in
    zmq.XPUB: (QUEUE_MESSAGES_MAX, SUBSCRIPTION_QUEUE_MAX, SUBSCRIPTION_BYTES_MAX),
    zmq.SUB: (QUEUE_MESSAGES_MAX, SUB_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
    zmq.ROUTER: (ANSWER_QUEUE_MAX, REQUEST_QUEUE_MAX, REQUEST_BYTES_MAX),
    zmq.DEALER: (REQUEST_QUEUE_MAX, ANSWER_QUEUE_MAX, FRAME_BYTES_MAX + CURVE_BYTES),
}

_log = logging.getLogger(__name__)


class Sockets:
    """Makes sockets of one context, and has them watched by one poller."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], gate: Gate, poller: zmq.Poller
    ) -> None:
        self._context = context
        self._gate = gate
        self._poller = poller
        self._lacked = False  # descriptors

    def serve(self, kind: zmq.SocketType, host: str, port: int) -> tuple[zmq.Socket[bytes], int]:
        """A socket others connect to, and its port. OSError if it is not to be had."""
        socket = self._socket(kind)
        self._gate.serve(socket)
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        endpoint = socket.last_endpoint
        assert isinstance(endpoint, bytes)
        self._poller.register(socket, zmq.POLLIN)
        return socket, int(endpoint.rstrip(b"\0").rpartition(b":")[2])

    def connect(
        self, kind: zmq.SocketType, server_key: bytes, endpoint: str, lasting: bool = True
    ) -> zmq.Socket[bytes] | None:
        """A socket that leads to who has this CURVE key, `lasting` ones again and again; None if
        that can't be now."""
        try:
            socket = self._socket(kind)
        except zmq.ZMQError as error:
            if not is_full(error):
                raise
            if not self._lacked:
                _log.error("no descriptor is free for a connection to a member: trying later")
            self._lacked = True
            return None
        socket.reconnect_ivl = RECONNECT_MS if lasting else NEVER
        socket.reconnect_ivl_max = RECONNECT_MS_MAX if lasting else 0
        self._gate.join(socket, server_key)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            _log.debug("cannot connect to %s now: %s", endpoint, error)
            socket.close()
            return None
        self._poller.register(socket, zmq.POLLIN)
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
