"""Every alarm is in the table of operations.md, and the page says what to do about it."""

import re
from pathlib import Path

from peer.consensus.block import Block, Ref
from peer.consensus.dag import Evidence
from peer.node import hearing
from peer.node.clocks import SKEW_MS_MAX, SKEW_SEEN_MS
from peer.node.health import Health, Status
from tests.node.test_mesh_status import NOW_MS, WRONG, Seen
from tests.node.test_mesh_status import seen as seen  # the fixture

ROOT = Path(__file__).parents[2]
SITES = 13  # calls that raise an alarm: `every_alarm` has all their texts


def every_alarm(seen: Seen) -> set[str]:
    status, found = seen.mesh_status, set[str]()
    block = Block(Ref(1, 1, b"b" * 32), ())
    happens = [
        lambda: status.compare(1, WRONG, False),
        lambda: status.name_difference(1, 5, "order 4711 remaining 3 here, 5 there"),
        lambda: status.flooded(1, 0),
        lambda: status.misbehaved(1, "it sent an invalid block: no parents"),
        lambda: status.misbehaved(1, "a forged chain of epochs: epoch 1: a wrong signature"),
        lambda: status.helped_badly(1, "a part that does not belong to the requested state"),
        lambda: status.helped_badly(1, "an unusable state: of another digest"),
        lambda: status.equivocated([Evidence(block, block)], seen.ledger.epoch),
        lambda: status.untrusted("epoch 3: expected signatures of 2 members of epoch 2, got 1"),
        lambda: status.forged_chain("192.0.2.1:3201", "epoch 1: a wrong signature"),
        lambda: status.sealed_otherwise(1, 3, b"s" * 32),
        lambda: status.forged([1]),
        lambda: status.alarms.raise_alarm("halted", "halted: the journal me has failed: no space"),
    ]
    for happened in happens:
        happened()
        found.update(status.alarms.texts)
    for why in re.findall(r'Deaf\(member, "(.*)"\)', Path(hearing.__file__).read_text()):
        found.add(f"m1 {why}")
    for now_ms in (0, SKEW_SEEN_MS):
        for member, wrong_ms in ((1, 2 * SKEW_MS_MAX), (2, 0), (3, 0)):
            seen.hear(member, seen.own, NOW_MS + now_ms + wrong_ms, now_ms)
        seen.look(now_ms)
    late = Status(catching_up="blocks", pending=1, oldest_pending_ms=3_600_000)
    health = Health(status.alarms)
    for now_ms in (0, 3_600_000):
        health.look(now_ms, late, (1,), {"m1": 3_600_000})
    return found.union(status.alarms.texts)


def test_every_alarm_is_explained(seen: Seen) -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("## When something is wrong\n")[2]
    cells = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `")]
    shown = [one.removeprefix("ALARM ") for cell in cells for one in re.findall("`(.*?)`", cell)]
    known = [re.compile(".+".join(map(re.escape, one.split("…")))) for one in shown]
    alarms = every_alarm(seen)
    assert [one for one in alarms if not any(row.match(one) for row in known)] == []


def test_the_page_says_what_to_do_about_every_alarm(seen: Seen) -> None:
    page = (ROOT / "web/static/js/alarms.js").read_text()
    advice = [(re.compile(a), b) for a, b in re.findall(r'^  \[/(.*)/, "(.*)"\],$', page, re.M)]
    assert len(advice) > 10
    for alarm in every_alarm(seen):
        said = next((what for kind, what in advice if kind.search(alarm)), "")
        assert said, alarm
        assert ("command" in said) == ("forged command" in alarm), alarm


def test_these_are_all_alarms() -> None:
    calls = [
        line
        for path in (ROOT / "peer").rglob("*.py")
        for line in path.read_text().splitlines()
        if "raise_alarm(" in line and "def " not in line
    ]
    assert len(calls) == SITES
