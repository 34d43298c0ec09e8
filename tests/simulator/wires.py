"""The wires of a simulated node: to other members and to the programs on its machine.

Owns what is on its way in. Must never lose or delay anything: the network does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from peer.client.endpoint import Local
from peer.client.programs import Caller, Programs
from peer.client.protocol import (
    AccountUpdate,
    Committed,
    Done,
    MarketUpdate,
    Mesh,
    Reply,
    Request,
    Update,
)
from peer.consensus.block import Block
from peer.consensus.core import Pull, Wanted
from peer.membership.admission import AdmissionRequest
from peer.membership.epochs import Certificate, Epoch
from peer.network.answer_timeout import AnswerTimeout
from peer.network.authenticator import Asker
from peer.network.mesh import ALIVE_MS
from peer.network.messages import (
    AdmissionAsked,
    Answered,
    Asked,
    BlockIn,
    ChainAsked,
    ChainIn,
    ChainWanted,
    Heard,
    Heartbeat,
    Message,
    Offered,
    PartsAsked,
    PartsIn,
    Pulled,
    SignedSeal,
    StatedIn,
    encode,
    is_of,
    parse_heartbeat,
)
from peer.network.messages import Question as Ask
from peer.network.messages import Request as Question
from peer.replica.handover import Stated
from peer.storage.part_requests import PartsWanted
from peer.storage.state_sync import Manifest


class Ends(Protocol):
    """Whose wires they are."""

    address: int

    def address_of(self, key: bytes) -> int: ...

    def publish(self, block: Block) -> None: ...

    def send_all(self, message: Any) -> None: ...

    def send(self, to: int, message: Any) -> None: ...

    def spoil(self, parts: list[bytes]) -> list[bytes] | None: ...


class _Link(NamedTuple):
    heard_ms: int = -1
    heartbeat: Heartbeat | None = None
    address: str = ""
    unread: int = 0
    barred: str = ""
    renewed: int = 0
    answer_timeout: AnswerTimeout = AnswerTimeout()  # nothing is awaited here


class _Authenticator:
    def let_listen(self, keys: Iterable[bytes]) -> None:
        """Everybody may."""


class MeshWires:
    """The wires to the other members: what `peer.network.mesh.Mesh` is to a node."""

    host = "simulated"
    port = fetch_port = 1
    refused = 0
    due_ms = None
    authenticator = _Authenticator()

    def __init__(self, peer: Ends) -> None:
        self.links: dict[int, _Link] = {}  # by seat
        self._peer = peer
        self._epoch: Epoch | None = None
        self._seats: dict[int, int] = {}  # by address, of all epochs so far
        self._addresses: dict[int, int] = {}  # by seat
        self._cut: set[int] = set()
        self._inbox: list[Message] = []
        self._is_receiving = False
        self._questions: list[Question] = []

    def stand_in(
        self, epochs: Sequence[Epoch], candidates: Mapping[int, bytes] = MappingProxyType({})
    ) -> None:
        """Members of these epochs, and others. This peer is in the first epoch."""
        assert not self._is_receiving, "the real links must not change meanwhile"
        self._epoch = epochs[0]
        seats = {seat.number: seat.key for epoch in epochs for seat in epoch.seats}
        seats = {**candidates, **seats}
        for number, key in seats.items():
            address = self._peer.address_of(key)
            self._seats[address], self._addresses[number] = number, address
        keep = seats.keys() - {self._seats.get(self._me)}
        self.links = {n: self.links.get(n, _Link()) for n in sorted(keep)}

    def deliver(self, sender: int, message: Any) -> None:
        """Something arrives from the address `sender`. Anybody may ask; only members are heard."""
        seat = self._seats.get(sender, -1)
        if seat in self._cut:
            return
        match message:
            case Wanted(refs=refs):
                self._questions.append(Asked(bytes([sender]), tuple(ref.digest for ref in refs)))
            case Pull(above=above, epoch=epoch):
                self._questions.append(Pulled(bytes([sender]), epoch, above))
            case Stated():
                self._questions.append(StatedIn(bytes([sender]), message))
            case AdmissionRequest():
                self._questions.append(AdmissionAsked(bytes([sender]), message))
            case ChainWanted(above=last):
                self._questions.append(ChainAsked(bytes([sender]), last))
            case PartsWanted():
                self._questions.append(PartsAsked(bytes([sender]), *message[1:]))
            case _ if seat in self.links:
                self._hear(seat, message)

    def _hear(self, seat: int, message: Any) -> None:
        match message:
            case Block():
                self._inbox.append(BlockIn(seat, message.frame))
            case Heartbeat():
                assert self._epoch is not None
                if is_of(message, self._epoch, seat):
                    self._inbox.append(Heard(seat, message))
            case SignedSeal():
                self._inbox.append(message._replace(member=seat))
            case [*messages]:
                self._inbox += [each._replace(member=seat) for each in messages]

    def requests(self, now_ms: int) -> Iterator[tuple[Asker, Question]]:
        del now_ms
        questions, self._questions = self._questions, []
        for question in questions:
            yield Asker(True, str(question.who[0])), question

    def receive(self, now_ms: int, quorum_round: int = 0) -> Iterator[Message]:
        del quorum_round
        inbox, self._inbox = self._inbox, []
        self._is_receiving = True
        for message in inbox:
            if isinstance(message, Heard) and message.member in self.links:
                self.links[message.member] = _Link(now_ms, message.heartbeat, "simulated:1")
            yield message
        self._is_receiving = False

    def alive(self, member: int, now_ms: int) -> bool:
        heard_ms = self.links[member].heard_ms
        return heard_ms >= 0 and now_ms - heard_ms < ALIVE_MS

    def heard(self, now_ms: int) -> list[int]:
        return [member for member in self.links if self.alive(member, now_ms)]

    def cut(self, member: int) -> None:
        self._cut.add(member)

    def publish(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._peer.publish(block)

    def beat(self, heartbeat: Heartbeat) -> None:
        assert parse_heartbeat(encode(heartbeat)) == heartbeat, f"others drop {heartbeat}"
        self._peer.send_all(heartbeat)

    def state(self, member: int, stated: Stated) -> None:
        self._peer.send(self._addresses[member], stated)

    def ask_admission(self, member: int, request: AdmissionRequest) -> None:
        self._peer.send(self._addresses[member], request)

    def hand_over(self, epoch: int, seal: bytes, signatures: Mapping[int, bytes]) -> None:
        self._peer.send_all(SignedSeal(self._me, epoch, seal, dict(signatures)))

    def send_chain(self, asked: ChainAsked, certificates: Iterable[Certificate]) -> None:
        self._peer.send(asked.who[0], [ChainIn(self._me, list(certificates))])

    def ask(self, requests: Iterable[Ask]) -> None:
        for request in requests:
            self._peer.send(self._addresses[request.member], request)

    def answer(self, asked: Asked | Pulled, frames: Sequence[bytes]) -> None:
        answer: list[Message] = [BlockIn(self._me, frame, True) for frame in frames]
        if isinstance(asked, Pulled):
            answer.append(Answered(self._me))
        self._peer.send(asked.who[0], answer)

    def offer(
        self, asked: Pulled | PartsAsked, manifest: Manifest, certificate: list[bytes]
    ) -> None:
        self._peer.send(asked.who[0], [Offered(self._me, manifest, certificate)])

    def send_parts(self, asked: PartsAsked, parts: list[bytes]) -> None:
        sent = self._peer.spoil(parts)
        if sent is not None:
            self._peer.send(asked.who[0], [PartsIn(self._me, asked.number, asked.commit, sent)])

    @property
    def _me(self) -> int:
        return self._peer.address


class LocalWires(Local):
    """The wires to the programs on the machine, without sockets."""

    def __init__(
        self, replied: Callable[[Caller, Reply], None], showed: Callable[[int], None]
    ) -> None:
        self._programs = Programs(lambda caller, body: True)
        self._inbox: list[tuple[Caller, Request]] = []
        self._replied = replied
        self._showed = showed

    def deliver(self, caller: Caller, request: Request) -> None:
        self._inbox.append((caller, request))

    def receive(self) -> Iterator[tuple[Caller, Request]]:
        inbox, self._inbox = self._inbox, []
        yield from inbox

    def reply(self, caller: Caller, reply: Reply) -> None:
        if isinstance(reply, Done):
            self._showed(reply.commit)
        self._replied(caller, reply)

    def hears(self, topic: str) -> bool:
        return not topic.startswith("account/")

    def heard(self, kind: str) -> set[str]:
        assert kind == "account"
        return set()

    def publish(self, update: Update, topic: str) -> None:
        if isinstance(update, MarketUpdate | AccountUpdate | Committed | Mesh):
            self._showed(update.commit)


class NoPoller:
    """Waiting is the simulation's business."""

    def poll(self, timeout_ms: int) -> bool:
        del timeout_ms
        return False
