"""Whether a new order at this peer would be ordered soon, and if not, why.

Owns the reasons, and the alarms over lasting faults: commands that wait long, catching up without
progress, members that do not answer. Must never read a clock or act on a fault.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from peer.client.protocol import Reason
from peer.node.alarms import Alarms

PENDING_MS_MAX = 10_000  # for a command that waits to be ordered
STALLED_MS = 15_000  # without progress in catching up
UNANSWERED_MS_MAX = 30_000  # for a member that is heard


class Status(NamedTuple):
    """What a peer knows of itself. Times are ages in milliseconds."""

    halted: str = ""
    is_stopping: bool = False
    quorum: bool = True
    hears_enough: bool = True  # members for a quorum, whether or not they hear this peer
    catching_up: str = ""
    pending: int = 0
    oldest_pending_ms: int = 0
    refused_requests: int = 0  # that found no room in the queue


def reasons(status: Status) -> list[Reason]:
    """Why this peer is not ready, worst reason first; empty if it is ready."""
    return list(_reasons(status))


def _reasons(status: Status) -> Iterator[Reason]:
    if status.halted:
        yield Reason("halted", f"This peer has stopped: {status.halted}")
    if status.is_stopping:
        yield Reason("stopping", "This peer is stopping.")
    if not status.quorum and status.hears_enough:
        yield Reason("unheard", "Too few of the members that this peer hears hear it: orders wait.")
    elif not status.quorum:
        yield Reason("no_quorum", "There is no quorum: orders wait.")
    if status.catching_up:
        yield Reason(
            "catching_up", f"This peer is catching up with the others: {status.catching_up}"
        )
    if status.oldest_pending_ms >= PENDING_MS_MAX:
        text = f"The oldest of {status.pending} commands waits for over {PENDING_MS_MAX // 1000} s."
        yield Reason("pending", text)


class Health:
    """Raises and clears alarms over lasting faults."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._progress: tuple[int, ...] = ()
        self._progress_ms = 0

    def look(
        self,
        now_ms: int,
        status: Status,
        progress: tuple[int, ...],
        unanswered_ms: Mapping[str, int],
    ) -> None:
        """`progress`: numbers; at least one grows when catching up advances. `unanswered_ms`: by
        name, for how long a heard member has answered nothing."""
        if progress != self._progress or not status.catching_up:
            self._progress, self._progress_ms = progress, now_ms
        stalled = now_ms - self._progress_ms >= STALLED_MS
        text = f"catching up has made no progress for over {STALLED_MS // 1000} s"
        self._note("stall", stalled, text)
        waited = status.oldest_pending_ms >= PENDING_MS_MAX
        text = f"commands wait for over {PENDING_MS_MAX // 1000} s to be ordered"
        self._note("pending", waited, text)
        for name, silent_ms in unanswered_ms.items():
            text = f"{name} sends heartbeats but answers no request"
            self._note(f"unanswered {name}", silent_ms >= UNANSWERED_MS_MAX, text)

    def _note(self, key: str, is_so: bool, text: str) -> None:
        if is_so:
            self._alarms.raise_alarm(key, text)
        else:
            self._alarms.clear(key)
