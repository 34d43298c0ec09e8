"""When a peer is not ready, and what it raises an alarm over."""

import pytest

from peer.node.alarms import Alarms
from peer.node.health import PENDING_MS_MAX, STALLED_MS, UNANSWERED_MS_MAX, Health, Status, reasons

BEHIND = Status(catching_up="fetching blocks: at round 5 of 90")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status(halted="the disk is full"), "halted"),
        (Status(is_stopping=True), "stopping"),
        (Status(quorum=False, hears_enough=False), "no_quorum"),
        (Status(quorum=False), "unheard"),
        (BEHIND, "catching_up"),
        (Status(pending=3, oldest_pending_ms=PENDING_MS_MAX), "pending"),
    ],
)
def test_each_reason_alone_makes_a_peer_not_ready(status: Status, code: str) -> None:
    assert reasons(Status()) == []
    [reason] = reasons(status)
    assert reason.code == code
    assert status.halted in reason.text
    assert status.catching_up in reason.text


def test_all_reasons_are_named_the_worst_first() -> None:
    status = Status("why", True, False, False, "behind", 1, 10**6)
    codes = [reason.code for reason in reasons(status)]
    assert codes == ["halted", "stopping", "no_quorum", "catching_up", "pending"]


def test_a_command_may_wait_a_little() -> None:
    assert reasons(Status(pending=9, oldest_pending_ms=PENDING_MS_MAX - 1)) == []


class Watched:
    """Looked at every half second."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self._health = Health(self.alarms)
        self._now_ms = 0

    def look(
        self, status: Status, progress: int = 0, unanswered_ms: int = 0, for_ms: int = 500
    ) -> list[str]:
        for _ in range(for_ms // 500):
            self._now_ms += 500
            self._health.look(self._now_ms, status, (0, progress), {"bob": unanswered_ms})
        return self.alarms.texts


def test_commands_that_wait_for_long_raise_an_alarm_until_they_are_ordered() -> None:
    watched = Watched()
    assert watched.look(Status(pending=1, oldest_pending_ms=PENDING_MS_MAX - 1)) == []
    late = Status(pending=1, oldest_pending_ms=PENDING_MS_MAX)
    assert watched.look(late) == ["commands wait for over 10 s to be ordered"]
    assert watched.look(Status()) == []


def test_catching_up_without_progress_raises_an_alarm_until_it_progresses() -> None:
    watched = Watched()
    for progress in range(5):
        assert watched.look(BEHIND, progress, for_ms=STALLED_MS) == []
    text = "catching up has made no progress for over 15 s"
    assert watched.look(BEHIND, 4, for_ms=1_000) == [text]
    assert watched.look(BEHIND, 5) == []
    assert watched.look(Status(), 5, for_ms=10 * STALLED_MS) == []
    assert watched.look(BEHIND, 5) == [], "it has only just begun"


def test_a_member_that_answers_nothing_raises_an_alarm_until_it_does() -> None:
    watched = Watched()
    assert watched.look(Status(), unanswered_ms=UNANSWERED_MS_MAX - 1) == []
    text = "bob sends heartbeats but answers no request"
    assert watched.look(Status(), unanswered_ms=UNANSWERED_MS_MAX) == [text]
    assert watched.look(Status()) == []
