"""Answers other peers' requests: missed blocks, parts of states.

Owns the order of answers. Must never delay this peer's own work: see `rate_limit.FairQueue`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine import HashTree, Leaf, leaf_part
from peer.client.programs import Caller
from peer.client.protocol import Execute, Queued, Refused
from peer.network.mesh import Mesh
from peer.network.messages import (
    ANSWER_BLOCKS_MAX,
    ANSWER_BYTES_MAX,
    AdmissionAsked,
    Asked,
    ChainAsked,
    ForwardAsked,
    PartsAsked,
    Pulled,
    Request,
    StatedIn,
)
from peer.network.rate_limit import MEMBERS_COST, OBSERVERS_COST, FairQueue
from peer.node.ledger import Ledger
from peer.node.notices import Notices
from peer.node.open_admission import Admission
from peer.storage.journal import Certified
from peer.storage.part_requests import ANSWER_BYTES


class ResponseLimit(NamedTuple):
    """For one answer. The shorter it is, the less it delays this peer's own work."""

    blocks: int
    size: int  # bytes


MEMBER_GETS = ResponseLimit(ANSWER_BLOCKS_MAX, ANSWER_BYTES_MAX)
OBSERVER_GETS = ResponseLimit(100, 256 * 1024)


class Responder:
    def __init__(
        self,
        mesh: Mesh,
        ledger: Ledger,
        notices: Notices,
        admission: Admission,
        clock_us: Callable[[], int],
        forwarded: Callable[[Caller, Execute], None],
    ) -> None:
        self._forwarded = forwarded
        self._has_taken = False  # orders, since the last turn
        self._mesh = mesh
        self._ledger = ledger
        self._notices = notices
        self._admission = admission
        self._journal = ledger.journal
        self._clock_us = clock_us
        self._members: FairQueue[Request] = FairQueue(MEMBERS_COST)
        self._observers: FairQueue[Request] = FairQueue(OBSERVERS_COST)

    def respond(self, now_ms: int) -> None:
        """Answer some of the requests."""
        self._has_taken = False
        for asker, asked in self._mesh.requests(now_ms):
            if isinstance(asked, ForwardAsked):
                asked = asked._replace(asker=asker.name)
            turns = self._members if asker.is_member else self._observers
            turns.put(asker.name, asked)
        for turns, most in ((self._members, MEMBER_GETS), (self._observers, OBSERVER_GETS)):
            while (request := turns.next(self._clock_us())) is not None:
                self._answer(request, most)

    @property
    def dropped(self) -> int:
        """Requests that found no room in the queue."""
        return self._members.dropped + self._observers.dropped

    @property
    def due_ms(self) -> int | None:
        """When to answer again without new input."""
        if self._has_taken:
            return 0
        due = [turns.due_us for turns in (self._members, self._observers)]
        times = [-(-due_us // 1_000) for due_us in due if due_us is not None]
        if self._mesh.due_ms is not None:
            times.append(self._mesh.due_ms)
        return min(times, default=None)

    def _answer(self, request: Request, most: ResponseLimit) -> None:
        match request:
            case Asked(digests=digests):
                self._mesh.answer(request, self._journal.find(digests, most.size))
            case Pulled():
                self._answer_pull(request, most)
            case StatedIn(stated=stated):
                self._notices.came(stated)
            case AdmissionAsked(request=asked):
                self._admission.asked(asked)
            case ChainAsked():
                chain = self._ledger.epochs.certificates(request.above)
                self._mesh.send_chain(request, chain)
            case PartsAsked():
                self._answer_parts(request)
            case ForwardAsked():
                self._take(request)

    def _take(self, asked: ForwardAsked) -> None:
        """Take another peer's signed orders as those of a program. The answer follows once they are
        durable, in the next turn."""
        self._has_taken = True
        caller = Caller(asked.who, asked.number.to_bytes(8, "big"), is_peer=True)
        self._forwarded(caller, Execute(list(asked.commands), f"peer {asked.asker}"))

    def answer_forwarded(self, caller: Caller, reply: Queued | Refused) -> None:
        """Say what has become of another peer's orders."""
        number = int.from_bytes(caller.request, "big")
        self._mesh.answer_forwarded(caller.connection, number, reply)

    def _answer_pull(self, pulled: Pulled, most: ResponseLimit) -> None:
        epoch = self._ledger.epochs.find(pulled.epoch)
        if epoch is None or len(pulled.rounds) != epoch.committee.size:
            self._mesh.answer(pulled, [])
            return
        certified = self._journal.certified()
        if certified is not None and self._lacks(pulled, certified):
            self._mesh.offer(pulled, certified.manifest, certified.certificate)
            return
        rounds, number = pulled.rounds, pulled.epoch
        self._mesh.answer(pulled, self._journal.above(rounds, most.blocks, most.size, number))

    def _lacks(self, pulled: Pulled, certified: Certified) -> bool:
        """Whether blocks that the caller wants may be pruned."""
        if pulled.epoch < certified.manifest.epoch:
            return pulled.epoch <= self._journal.epochs.last_closed()
        if pulled.epoch > certified.manifest.epoch:
            return False
        pairs = zip(pulled.rounds, certified.floors, strict=True)
        return any(has < gc for has, gc in pairs)

    def _answer_parts(self, asked: PartsAsked) -> None:
        """Answer with parts, or offer a newer state if that one is gone."""
        tree = self._ledger.tree_at(asked.commit)
        parts = [] if tree is None else list(self._parts(tree, asked))
        certified = None if parts else self._journal.certified()
        if certified is not None and certified.manifest.commit > asked.commit:
            self._mesh.offer(asked, certified.manifest, certified.certificate)
            return
        self._mesh.send_parts(asked, parts)

    def _parts(self, tree: HashTree, asked: PartsAsked) -> Iterator[bytes]:
        """The parts that exist, as many as fit."""
        room = ANSWER_BYTES
        for place in asked.places:
            part = self._part(tree.at(*place), asked.commit)
            if part is None:
                continue
            if len(part) > room and room < ANSWER_BYTES:
                return
            room -= len(part)
            yield part

    def _part(self, there: HashTree, commit: int) -> bytes | None:
        """The leaf or node at a place, if there is one."""
        if not isinstance(there.root, Leaf):
            return None if there.root is None else there.root.part
        key = there.root.key
        piece = self._ledger.piece_at(commit, key)
        return leaf_part(key, piece) if piece else None
