"""The answers to other peers' requests, on the ROUTER.

Owns their frames. Must never wait: an answer to a full or gone peer is dropped.
"""

from collections.abc import Iterable

import zmq

from peer.client.protocol import Queued, Refused
from peer.membership import epochs
from peer.membership.epochs import Certificate
from peer.network import messages as wire
from peer.network.forward_messages import answer_body
from peer.network.messages import Asked, ChainAsked, PartsAsked, Pulled
from peer.storage.state_sync import Manifest


class Answers:
    """Part of `Mesh`, which owns the socket."""

    _router: zmq.Socket[bytes]

    def answer(self, asked: Asked | Pulled, frames: list[bytes]) -> None:
        kind = b"F" if isinstance(asked, Asked) else b"P"
        self._router.send_multipart((asked.who, kind, *frames))

    def offer(
        self, asked: Pulled | PartsAsked, manifest: Manifest, certificate: list[bytes]
    ) -> None:
        self._router.send_multipart((asked.who, b"M", wire.encode(manifest), *certificate))

    def answer_forwarded(self, who: bytes, number: int, reply: Queued | Refused) -> None:
        self._router.send_multipart((who, b"E", answer_body(number, reply)))

    def send_parts(self, asked: PartsAsked, parts: list[bytes]) -> None:
        head = wire.encode((asked.number, asked.commit))
        self._router.send_multipart((asked.who, b"T", head, *parts))

    def send_chain(self, asked: ChainAsked, certificates: Iterable[Certificate]) -> None:
        frames = map(epochs.encode, certificates)
        self._router.send_multipart((asked.who, b"C", *frames))
