"""Answering what others ask for: blocks they missed, snapshots.

Owns who is helped next. Must never keep this peer from its own work: see `pace.FairQueue`.
"""

from collections.abc import Callable
from typing import NamedTuple

from peer.network.mesh import Mesh
from peer.network.messages import (
    ANSWER_BLOCKS_MAX,
    ANSWER_BYTES_MAX,
    Asked,
    PartAsked,
    Pulled,
    Request,
)
from peer.network.rate_limit import MEMBERS_COST, OBSERVERS_COST, FairQueue
from peer.storage.journal import Journal


class ResponseLimit(NamedTuple):
    """Of one answer. The shorter it is, the less of this peer's own work waits for it."""

    blocks: int
    size: int  # bytes


MEMBER_GETS = ResponseLimit(ANSWER_BLOCKS_MAX, ANSWER_BYTES_MAX)
OBSERVER_GETS = ResponseLimit(100, 256 * 1024)


class Helper:
    def __init__(self, mesh: Mesh, journal: Journal, clock_us: Callable[[], int]) -> None:
        self._mesh = mesh
        self._journal = journal
        self._clock_us = clock_us
        self._members: FairQueue[Request] = FairQueue(MEMBERS_COST)
        self._observers: FairQueue[Request] = FairQueue(OBSERVERS_COST)

    def help(self, now_ms: int) -> None:
        """Answer some of what was asked."""
        for asker, asked in self._mesh.requests(now_ms):
            turns = self._members if asker.is_member else self._observers
            turns.put(asker.name, asked)
        for turns, most in ((self._members, MEMBER_GETS), (self._observers, OBSERVER_GETS)):
            while (request := turns.next(self._clock_us())) is not None:
                self._answer(request, most)

    @property
    def dropped(self) -> int:
        """Requests that found no room to wait."""
        return self._members.dropped + self._observers.dropped

    @property
    def due_ms(self) -> int | None:
        """When to help again though nothing has come."""
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
            case PartAsked(commit=commit, offset=offset):
                self._mesh.send_part(request, self._journal.snapshot_part(commit, offset))

    def _answer_pull(self, pulled: Pulled, most: ResponseLimit) -> None:
        certified = self._journal.certified()
        if certified is not None:
            manifest, gc_rounds, certificate = certified
            if any(has < gc for has, gc in zip(pulled.rounds, gc_rounds, strict=True)):
                self._mesh.offer(pulled, manifest, certificate)
                return
        self._mesh.answer(pulled, self._journal.above(pulled.rounds, most.blocks, most.size))
