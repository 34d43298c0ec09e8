"""How long a command takes, in message delays.

Owns runs without faults on a network of the shape ordering was designed on: 0.5 ms and an
exponential part of mean 0.5 ms one way, so that a millisecond is one message delay.
"""

from dataclasses import dataclass
from random import Random

from peer.consensus.committee import Mode
from tests.simulator.network import CALM
from tests.simulator.plan import Plan, committee
from tests.simulator.run import Ending, Options, Run
from tests.simulator.world import MS

COMMANDS = 400
EVERY_US = 10 * MS  # on average, on the whole mesh
LONE_US = 400 * MS  # between two of them the mesh falls idle


@dataclass(frozen=True)
class Scene:
    """One row: `attainable` is what the design's own simulation gave (mean / p99)."""

    name: str
    size: int
    mode: Mode
    attainable: str = ""
    every_us: int = EVERY_US
    dead: int | None = None


SCENES = (
    Scene("light load", 3, Mode.CRASH, "3.1 / 5.7"),
    Scene("light load", 4, Mode.CRASH),
    Scene("light load", 5, Mode.CRASH, "3.7 / 6.2"),
    Scene("light load", 7, Mode.CRASH),
    Scene("light load", 20, Mode.CRASH, "4.5 mean"),
    Scene("lone order", 3, Mode.CRASH, "3.0 mean", LONE_US),
    Scene("one of them dead", 3, Mode.CRASH, "3.2 mean", dead=2),
    Scene("light load", 3, Mode.BYZANTINE, "4.0 / 6.7"),
    Scene("light load", 4, Mode.BYZANTINE),
    Scene("light load", 5, Mode.BYZANTINE, "5.0 / 7.8"),
    Scene("light load", 7, Mode.BYZANTINE),
    Scene("light load", 20, Mode.BYZANTINE, "6.0 mean"),
    Scene("lone order", 4, Mode.BYZANTINE, "", LONE_US),
    Scene("one of them dead", 4, Mode.BYZANTINE, dead=3),
)


def measure(scene: Scene, commands: int = COMMANDS) -> list[float]:
    """The delays of all commands, in message delays, sorted. The dead member's commands are those
    of nobody."""
    random = Random(f"delays {scene}")
    alive = [m for m in range(scene.size) if m != scene.dead]
    times, at = [], 0
    for _ in range(commands):
        at += int(random.expovariate(1 / scene.every_us))
        times.append((at, random.choice(alive)))
    dead = () if scene.dead is None else ((0, scene.dead),)
    plan = Plan(
        seed=0,
        committee=committee(scene.size, scene.mode),
        heal_us=at + 1_000 * MS,
        commands=tuple(times),
        weather=CALM,
        dead=dead,
    )
    verdict = Run(plan, Options(check_every=1_000_000)).verdict()
    assert verdict.ending is Ending.PASS, verdict.reason
    return sorted(delay / MS for delay in verdict.delays_us)


def table() -> str:
    lines = [
        "one-way message delays from submit to commit at the submitter",
        f"{'':>17} {'mode':>9} {'n':>2} {'mean':>6} {'p50':>6} {'p99':>6}  attainable (mean / p99)",
    ]
    for scene in SCENES:
        took = measure(scene)
        mean, p50, p99 = sum(took) / len(took), took[len(took) // 2], took[len(took) * 99 // 100]
        lines.append(
            f"{scene.name:>17} {scene.mode:>9} {scene.size:>2} {mean:6.2f} {p50:6.2f} {p99:6.2f}"
            f"  {scene.attainable}"
        )
    return "\n".join(lines)
