"""A program that talks to a node over its local socket, frame by frame."""

from collections.abc import Iterator

import msgspec
import zmq

from peer.client.endpoint import Endpoint
from peer.client.protocol import (
    Answer,
    Request,
    topic,
)
from tests.support.real_mesh import MARKET

ANSWER_S = 20.0


ALL = [topic("market", MARKET), topic("account", "ann"), topic("commit")]


class Program:
    """A connection and nothing else. It reads only when it is told to, and little waits on its
    side of the socket."""

    def __init__(self, where: Endpoint) -> None:
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.linger, self._dealer.rcvhwm, self._dealer.rcvbuf = 0, 1, 4_096
        self._dealer.connect(where.address)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self._dealer.close()
        self._context.term()

    def send(self, name: bytes, request: Request) -> None:
        self._dealer.send_multipart((name, msgspec.msgpack.encode(request)))

    def read(self, wait_ms: int = 0) -> Iterator[tuple[bytes, Answer]]:
        """What has come, until nothing does for so long."""
        while self._dealer.poll(wait_ms):
            name, body = self._dealer.recv_multipart()
            if body:
                yield name, msgspec.msgpack.decode(body, type=Answer)
