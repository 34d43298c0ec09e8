"""The network sockets of a node, which connect it to other peers.

Owns the XPUB that publishes, the ROUTER that answers fetches, and a SUB and a DEALER to every other
member. Must never interpret a block: it passes frames on, with their member.

Every socket is CURVE-encrypted. A member's public key in the mesh file gives its CURVE key, so a
link reaches only that member, whatever the source of the address.

A turn takes in a bounded part of all input. A member publishes at most a block for every round that
a quorum has made, and a heartbeat each HEARTBEAT_MS. This peer does not read more than that. It
does not hear a member that goes on like this for FLOOD_PAUSE_MS. An unread message is a lost
message, and peers fetch those: the limits can delay an honest member, never harm it.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import zmq

from discovery.grape import Address
from peer.consensus.block import Block
from peer.consensus.core import Wanted
from peer.membership.admission import AdmissionRequest
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity, curve_public
from peer.membership.mesh_file import MeshConfig
from peer.network import messages as wire
from peer.network.addresses import ALIVE_MS as ALIVE_MS
from peer.network.addresses import read_address
from peer.network.answers import Answers
from peer.network.authenticator import Asker, Authenticator
from peer.network.connection_guard import ConnectionGuard
from peer.network.links import FLOOD_PAUSE_MS as FLOOD_PAUSE_MS
from peer.network.links import OWED_MAX, UNREAD_MS, Link, Subscription, renumber
from peer.network.links import Flooded as Flooded
from peer.network.messages import (
    BlockIn,
    Heard,
    Heartbeat,
    Introduced,
    Question,
    Request,
)
from peer.network.messages import Message as Said
from peer.network.sockets import Sockets
from peer.process.descriptors import Room
from peer.process.poller import Poller
from peer.replica.handover import Stated

HEARTBEAT_MS = 250
DRAIN_MAX = 200  # per socket and turn
REQUESTS_PER_TURN_MAX = 16
LOOK_MS = 20  # between two looks at where the members are, and whether they answer
REST_MS = 20  # until the next look at the requests, after this many

_SUBSCRIBES = b"\x01"  # first byte of a subscription

_log = logging.getLogger(__name__)


Message = Said | Flooded


class Mesh(Answers):
    """The constructor binds; `port` is where others subscribe (0: any), `host` the interface."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        config: MeshConfig,
        identity: Identity,
        poller: Poller,
        host: str = "127.0.0.1",
        port: int = 0,
        fetch_port: int = 0,
        authenticator: Authenticator | None = None,
        room: Room | None = None,
    ) -> None:
        self.config = config
        self.host = host
        self.authenticator = authenticator or Authenticator(context, config, identity, poller)
        self._poller = poller
        self._sockets = Sockets(context, self.authenticator, poller)
        self._pub, self.port = self._sockets.serve(zmq.XPUB, host, port)
        self._pub.xpub_verbose = True  # every connection reports its subscription once
        self._router, self.fetch_port = self._sockets.serve(zmq.ROUTER, host, fetch_port)
        self._rest_until_ms: int | None = None  # for the router: too many requests
        self._now_ms = 0  # of this turn
        self._look_ms = 0  # when the next look is due
        self.guard = ConnectionGuard(self.port, self.fetch_port, room)
        self._own_key = identity.public
        self.links: dict[int, Link] = {}  # by seat
        self._epoch = Epoch.first(config)
        self.stand_in([self._epoch])

    def stand_in(
        self, epochs: Sequence[Epoch], candidates: Mapping[int, bytes] = MappingProxyType({})
    ) -> None:
        """Connect to the members of these epochs and to the holders of other keys, under numbers
        that are no seats, and to nobody else. This peer is in the first epoch. Must not be called
        while `receive` is under way."""
        self._epoch, self._look_ms = epochs[0], 0
        seats = {seat.number: seat.key for epoch in epochs for seat in epoch.seats}
        keys = {**candidates, **seats}
        renumber(self.links, {curve_public(key): number for number, key in seats.items()})
        for number in [number for number in self.links if number not in keys]:
            link = self.links.pop(number)
            self.authenticator.dismiss(link.server_key)
            self._close_sockets(link)
        self.authenticator.admit(map(curve_public, seats.values()))
        self.authenticator.let_listen(map(curve_public, candidates.values()))
        for number, key in keys.items():
            if key != self._own_key and number not in self.links:
                self.links[number] = Link(number, curve_public(key))

    def cut(self, member: int) -> None:
        """A member misbehaves: drop its messages, and refuse its connections."""
        link = self.links.get(member)
        if link is None:  # it misbehaved in an epoch whose members this peer hears no more
            return
        self.authenticator.deny(link.server_key)
        self._close_sockets(link)
        link.fetch, link.heard_ms = None, -1
        link.cut = True

    def _close_sockets(self, link: Link) -> None:
        self._close_subscriptions(link)
        if link.fetch is not None:
            self._sockets.close(link.fetch)

    def _close_subscriptions(self, link: Link) -> None:
        for subscription in link.addresses.values():
            self._sockets.close(subscription.socket)
        link.addresses = {}
        link.book.close_all()

    def found(self, member: int, addresses: Sequence[Address]) -> None:
        """A lookup found addresses where a member may be."""
        if (link := self.links.get(member)) is not None:
            link.book.find(addresses)

    def _follow(self, link: Link, now_ms: int) -> None:
        """Connect where the member's address book says."""
        if link.cut or now_ms < link.paused_until_ms:
            return
        link.paused_until_ms = 0
        turn = link.book.turn(now_ms)
        for address in turn.close:
            if (subscription := link.addresses.pop(address, None)) is not None:
                self._sockets.close(subscription.socket)
        for address, lasting in turn.connect:
            where = f"tcp://{address}"
            socket = self._sockets.connect(zmq.SUB, link.server_key, where, lasting)
            if socket is not None:
                link.addresses[address] = Subscription(socket)

    def _pause(self, link: Link, now_ms: int) -> None:
        """A member floods: do not hear it for a while. This peer can still ask it."""
        _log.warning("member %d floods: ignored for %d ms", link.member, FLOOD_PAUSE_MS)
        self._close_subscriptions(link)
        link.heard_ms, link.floods = -1, False
        link.paused_until_ms = now_ms + FLOOD_PAUSE_MS

    def receive(self, now_ms: int, quorum_round: int = 0) -> Iterator[Message]:
        """A bounded part of the members' messages; the rest comes next turn. Invalid messages are
        dropped. `quorum_round`: the highest at which a quorum of blocks is here."""
        self._now_ms = now_ms
        self.guard.turned()
        self.authenticator.answer()
        self._note_subscribers()
        if looks := now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
        for link in self.links.values():
            if looks:
                self._follow(link, now_ms)
            for address, subscription in list(link.addresses.items()):
                yield from self._published(link, address, subscription, quorum_round)
            if link.fetch is not None:
                yield from self._fetched(link, link.fetch, now_ms)
            if looks:
                self._check_answers(link, now_ms)
            if link.floods:
                self._pause(link, now_ms)
                yield Flooded(link.member)

    def requests(self, now_ms: int) -> Iterator[tuple[Asker, Request]]:
        """A bounded part of the requests. After a full part more may wait, and stay unread for a
        while: callers that ask too much have to wait."""
        if self._rest_until_ms is not None:
            if now_ms < self._rest_until_ms:
                return
            self._rest_until_ms = None
            self._poller.register(self._router)
        left = REQUESTS_PER_TURN_MAX
        for who, *parts in self._poller.read(self._router, left):
            left -= 1
            asker = self._note(parts[0]) if parts else None
            asked = wire.parse_request(who.bytes, [part.bytes for part in parts[:3]])
            if asker is None or asked is None:
                continue
            if isinstance(asked, Introduced):
                self._note_introduction(parts[0], asked.port)
            else:
                yield asker, asked
        if not left:
            self._rest_until_ms = now_ms + REST_MS
            self._poller.unregister(self._router)

    def _note_introduction(self, frame: zmq.Frame, port: int) -> None:
        """A member or a candidate tells where it can be heard. It can only name its own host."""
        host, key = str(frame.get("Peer-Address")), str(frame.get("User-Id"))
        for link in self.links.values():
            if key == link.server_key.hex():
                with contextlib.suppress(ValueError):
                    link.book.tell(read_address(f"{host}:{port}"))

    def _note_subscribers(self) -> None:
        for frame, *_ in self._poller.read(self._pub, DRAIN_MAX):
            if frame.bytes[:1] == _SUBSCRIBES:
                self._note(frame)

    def _note(self, frame: zmq.Frame) -> Asker | None:
        """The sender of a frame; None if its messages are dropped."""
        asker = self.authenticator.asker(frame)
        self.guard.hear(int(frame.get(zmq.SRCFD)), asker)
        return asker

    @property
    def due_ms(self) -> int | None:
        """When to call `requests` if nothing wakes the poller."""
        return self._rest_until_ms

    def _drain(self, socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
        """Messages of our own connections. The first message tells which connection it is."""
        is_first = True
        for frames in self._poller.read(socket, DRAIN_MAX):
            if is_first:
                self.guard.hear(int(frames[0].get(zmq.SRCFD)))
                is_first = False
            yield [frame.bytes for frame in frames]

    @property
    def refused(self) -> int:
        """Connections that were refused or that the guard ended."""
        return self.authenticator.refused + self.guard.ended

    def _published(
        self, link: Link, address: Address, subscription: Subscription, quorum_round: int
    ) -> Iterator[Message]:
        now_ms = self._now_ms
        for parts in self._drain(subscription.socket):
            match parts:
                case [b"B", body] if subscription.blocks.take(quorum_round + now_ms // 1_000):
                    yield BlockIn(link.member, body)
                case [b"H", body] if subscription.heartbeats.take(now_ms // HEARTBEAT_MS):
                    yield from self._hear(link, address, body, now_ms)
                case [b"S", body] if subscription.heartbeats.take(now_ms // HEARTBEAT_MS):
                    if (seal := wire.parse_seal(link.member, body)) is not None:
                        yield seal
                case _:
                    self._leave_unread(link, now_ms)

    def _fetched(self, link: Link, socket: zmq.Socket[bytes], now_ms: int) -> Iterator[Message]:
        for kind, *parts in self._drain(socket):
            if link.owed > 0:
                link.owed -= 1
                link.answer_timeout.answered(now_ms)
                yield from wire.parse_answer(link.member, kind, parts)
            else:
                self._leave_unread(link, now_ms)

    @staticmethod
    def _leave_unread(link: Link, now_ms: int) -> None:
        link.unread += 1
        link.floods |= not link.excess.take(now_ms // UNREAD_MS)

    def _hear(self, link: Link, address: Address, body: bytes, now_ms: int) -> Iterator[Heard]:
        heartbeat = wire.parse_heartbeat(body)
        if heartbeat is None:
            self._leave_unread(link, now_ms)
            return
        if not wire.is_of(heartbeat, self._epoch, link.member):
            if not link.foreign:
                _log.warning("at %s is member %d of another mesh", address, link.member)
            link.foreign += 1
            link.unread += 1
            return
        link.book.hear(address, now_ms)
        if (subscription := link.addresses.get(address)) is not None:
            subscription.heard_ms, subscription.fetch_port = now_ms, heartbeat.fetch_port
        if address == link.book.home:
            self._ask_where_heard(link, Address(address.host, heartbeat.fetch_port), now_ms)
        link.heard_ms = now_ms
        link.heartbeat = heartbeat
        link.address = str(link.book.home)
        yield Heard(link.member, heartbeat)

    def _ask_where_heard(self, link: Link, place: Address, now_ms: int) -> None:
        """A member answers at `place`, at its home. Ask it there, unless it has moved to another
        place where it is heard as well."""
        places = link.fetch_places(now_ms - ALIVE_MS)
        can_stay = link.fetch is not None and link.fetch_place in places
        if now_ms >= link.move_ms and not (can_stay and link.fetch_home == link.book.home):
            link.move_ms = now_ms + ALIVE_MS
            link.fetch_home = link.book.home
            if not (can_stay and link.fetch_place == place):
                self._ask_at(link, place)

    def _ask_at(self, link: Link, place: Address) -> None:
        if link.fetch is not None:
            self._sockets.close(link.fetch)
        link.fetch = self._sockets.connect(zmq.DEALER, link.server_key, f"tcp://{place}")
        link.fetch_place = place
        link.owed = 0
        link.answer_timeout.begin_anew()

    def _check_answers(self, link: Link, now_ms: int) -> None:
        """Check that a heard member can be asked, and try another way if not."""
        if not self.alive(link.member, now_ms):
            link.answer_timeout.forget()
        elif link.answer_timeout.is_over(now_ms):
            places = link.fetch_places(now_ms - ALIVE_MS) or [link.fetch_place]
            now_at = places.index(link.fetch_place) if link.fetch_place in places else -1
            link.renewed += 1
            link.fetch_home = link.book.home  # it led to the place that does not answer
            self._ask_at(link, places[(now_at + 1) % len(places)])
        elif link.answer_timeout.wants_probe(now_ms):
            self.ask([Wanted(link.member, ())])

    def alive(self, member: int, now_ms: int) -> bool:
        link = self.links[member]
        return link.heard_ms >= 0 and now_ms - link.heard_ms < ALIVE_MS

    def heard(self, now_ms: int) -> list[int]:
        """The members this peer hears, without candidates."""
        links = self.links.items()
        return [n for n, link in links if self.alive(n, now_ms) and not link.is_candidate]

    def publish(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._pub.send_multipart((b"B", block.frame))

    def beat(self, heartbeat: Heartbeat) -> None:
        """Send to all. Tell our address to a heard member that does not hear us."""
        self._pub.send_multipart((b"H", wire.encode(heartbeat)))
        self._poller.sent(self._pub)  # after a block it need not be known at once who subscribes
        for number, link in self.links.items():
            theirs = link.heartbeat
            if theirs and wire.hears_only(self._epoch, heartbeat, theirs, number):
                self._tell(number, wire.introduction(self.port))

    def hand_over(self, epoch: int, seal: bytes, signatures: Mapping[int, bytes]) -> None:
        """Send signatures over the seal of an epoch to all."""
        self._pub.send_multipart((b"S", wire.encode((epoch, seal, signatures))))

    def state(self, member: int, stated: Stated) -> None:
        """As a candidate, tell a member that the state is here. There is no answer."""
        self._tell(member, wire.statement(stated))

    def ask_admission(self, member: int, request: AdmissionRequest) -> None:
        """Ask a member to let this peer in. There is no answer."""
        self._tell(member, wire.admission(request))

    def _tell(self, member: int, frames: tuple[bytes, bytes]) -> None:
        link = self.links.get(member)
        if link is not None and link.fetch is not None:
            self._say(link.fetch, frames)

    def _say(self, socket: zmq.Socket[bytes], frames: tuple[bytes, bytes]) -> bool:
        """Send to a member. False if its queue is full."""
        self._poller.sent(socket)
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def ask(self, requests: Iterable[Question]) -> None:
        """Send requests. One that can't go out now is dropped; consensus asks again."""
        for request in requests:
            link = self.links.get(request.member)
            if link is None or link.fetch is None:
                continue
            if self._say(link.fetch, wire.request(request)):
                link.owed = min(link.owed + 1, OWED_MAX)
                link.answer_timeout.ask(self._now_ms)
            else:
                _log.debug("the queue to member %d is full", request.member)

    def close(self) -> None:
        for link in self.links.values():
            self._close_sockets(link)
        if self._rest_until_ms is None:
            self._poller.unregister(self._router)
        self._router.close()
        self._sockets.close(self._pub)
        self.authenticator.close()
