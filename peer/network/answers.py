"""The answers to other peers' requests, on the ROUTER.

Owns their frames. Must never wait: an answer to a full or gone peer is dropped.
"""

from collections.abc import Iterable, Sequence

import zmq

from peer.client.protocol import Queued, Refused
from peer.membership import epochs
from peer.membership.epochs import Certificate
from peer.network import messages as wire
from peer.network.forward_messages import answer_body
from peer.network.messages import Asked, ChainAsked, PartsAsked, Pulled
from peer.process.poller import Poller
from peer.storage.state_sync import Manifest


class Answers:
    """Part of `Mesh`, which owns the socket."""

    _router: zmq.Socket[bytes]
    _poller: Poller

    def _reply(self, frames: Sequence[bytes]) -> None:
        self._poller.sent(self._router)
        self._router.send_multipart(frames)

    def answer(self, asked: Asked | Pulled, frames: list[bytes]) -> None:
        kind = b"F" if isinstance(asked, Asked) else b"P"
        self._reply((asked.who, kind, *frames))

    def offer(
        self, asked: Pulled | PartsAsked, manifest: Manifest, certificate: list[bytes]
    ) -> None:
        self._reply((asked.who, b"M", wire.encode(manifest), *certificate))

    def answer_forwarded(self, who: bytes, number: int, reply: Queued | Refused) -> None:
        self._reply((who, b"E", answer_body(number, reply)))

    def send_parts(self, asked: PartsAsked, parts: list[bytes]) -> None:
        head = wire.encode((asked.number, asked.commit))
        self._reply((asked.who, b"T", head, *parts))

    def send_chain(self, asked: ChainAsked, certificates: Iterable[Certificate]) -> None:
        frames = map(epochs.encode, certificates)
        self._reply((asked.who, b"C", *frames))
