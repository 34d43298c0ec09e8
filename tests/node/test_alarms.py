"""What people see of what is wrong, and for how long."""

import pytest

from peer.node.alarms import ALARM_CHARACTERS_MAX, ALARMS_MAX, Alarms


def test_alarms_stay_until_they_are_cleared(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms()
    for _ in range(3):
        alarms.raise_alarm("clock 1", "the clock of m1 is off")
        alarms.raise_alarm("halted", "halted: why")
    assert alarms.texts == ["the clock of m1 is off", "halted: why"]
    for _ in range(3):
        alarms.clear("clock 1")
    assert alarms.texts == ["halted: why"]
    assert [record.getMessage() for record in caplog.records] == [
        "ALARM the clock of m1 is off",
        "ALARM halted: why",
        "cleared: the clock of m1 is off",
    ]


def test_a_key_has_one_alarm_the_newest() -> None:
    alarms = Alarms()
    for key, text in (("state 1", "one"), ("state 2", "two"), ("state 1", "three")):
        alarms.raise_alarm(key, text)
    assert alarms.texts == ["two", "three"]


def test_the_number_and_length_of_alarms_are_bounded() -> None:
    alarms = Alarms()
    for number in range(2 * ALARMS_MAX):
        alarms.raise_alarm(f"kind {number}", "x" * 10_000)
    assert len(alarms.texts) == ALARMS_MAX
    assert {len(text) for text in alarms.texts} == {ALARM_CHARACTERS_MAX}
