"""Meshes over long distances: how long a command takes, and which bytes were needless.

Owns places with their one-way delays, runs on them, and the counts of what was sent. A run has no
fault but lost messages. Its theory is the same run with all times divided by SHRINK and nothing
lost: there every delay is far below every timer, so only the rules of the order remain.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from statistics import mean
from typing import Any

from peer.consensus.committee import Mode
from peer.consensus.core import Timing
from tests.simulator.messages import Answer, Asked, AskedAbove, Heartbeat, Published
from tests.simulator.network import Weather
from tests.simulator.plan import Plan, committee
from tests.simulator.run import Ending, Options, Run
from tests.simulator.world import MS

COMMANDS = 400
SEEDS = 2
EVERY_MS = 50  # on average, on the whole mesh
HEARTBEAT_MS = 250
JITTER = 0.1  # the mean of the exponential part, of a link's delay
SHRINK = 100
LOSS = 0.01
SETTLE_MS = 5_000  # after the last command


@dataclass(frozen=True)
class Scene:
    """`delays_ms[a][b]` is the one-way delay from place a to place b; member m is at place
    m modulo their number. Members at one place have the delay that the place has to itself."""

    name: str
    size: int
    mode: Mode
    delays_ms: tuple[tuple[int, ...], ...]
    loss: float = LOSS


def even(ms: int, size: int, mode: Mode) -> Scene:
    return Scene(f"{ms} ms everywhere", size, mode, ((ms,),))


# Three places, such as two in one part of the world and one far from both.
TRIANGLE = ((1, 20, 80), (20, 1, 150), (80, 150, 1))


def far(size: int, mode: Mode, loss: float = LOSS) -> Scene:
    return Scene("20, 80, 150 ms", size, mode, TRIANGLE, loss)


def scenes() -> list[Scene]:
    among = [(size, mode) for mode in Mode for size in (3, 4, 7)]
    found = [even(ms, size, mode) for size, mode in among for ms in (10, 40, 75, 150)]
    return found + [far(size, mode, loss) for size, mode in among for loss in (0, LOSS)]


@dataclass
class Found:
    """`delays_ms` of all commands, sorted; bytes by kind."""

    delays_ms: list[float]
    sent: Counter[str]
    needless: int
    blocks: int


class Watched(Run):
    """Counts what is sent, by kind, and the answers that were needless."""

    def __init__(self, plan: Plan, options: Options) -> None:
        super().__init__(plan, options)
        self.sent: Counter[str] = Counter()
        self._counts = True
        self._published: set[tuple[int, bytes]] = set()  # that arrived, with the receiver
        self._answered: Counter[tuple[int, bytes]] = Counter()

    def _around(self, send: Any = None) -> Any:
        return replace(super()._around(send), send=self._send)

    def _heal(self) -> None:
        """Nobody counts what a run does after that."""
        self._counts = False
        super()._heal()

    def _send(self, sender: int, to: int, message: Any) -> None:
        self.network.send(sender, to, message)
        if not self._counts:
            return
        match message:
            case Published(frame):
                self.sent["blocks"] += len(frame)
            case Answer(frames):
                self.sent["answers"] += sum(map(len, frames))
            case Asked(refs):
                self.sent["requests"] += 32 * len(refs)
            case AskedAbove(rounds) | Heartbeat(rounds):
                kind = "heartbeats" if isinstance(message, Heartbeat) else "requests"
                self.sent[kind] += 3 * len(rounds)

    def _deliver(self, to: int, sender: int, message: Any) -> None:
        match message:
            case Published(frame):
                self._published.add((to, frame))
            case Answer(frames) if self._counts:
                self._answered.update((to, frame) for frame in frames)
        super()._deliver(to, sender, message)

    @property
    def needless(self) -> int:
        """Bytes of blocks in answers that also came by themselves, or in another answer."""
        return sum(
            len(key[1]) * (times - (key not in self._published))
            for key, times in self._answered.items()
        )


def run(
    scene: Scene,
    seed: int = 0,
    shrink: int = 1,
    timing: Timing | None = None,
    commands: int = COMMANDS,
) -> Found:
    """Run a scene, with all its times divided by `shrink`."""
    random = Random(f"wide {scene.name} {scene.size} {scene.mode} {seed}")
    times, at = [], 0
    for _ in range(commands):
        at += int(random.expovariate(1 / (EVERY_MS * MS)))
        times.append((at // shrink, random.randrange(scene.size)))
    places = len(scene.delays_ms)
    links = tuple(
        tuple(scene.delays_ms[a % places][b % places] * MS // shrink for b in range(scene.size))
        for a in range(scene.size)
    )
    plan = Plan(
        seed=seed,
        committee=committee(scene.size, scene.mode),
        heal_us=at // shrink + SETTLE_MS * MS,
        commands=tuple(times),
        weather=Weather(
            base_us=0,
            spread_us=0,
            loss=scene.loss if shrink == 1 else 0,
            in_order=True,
            links_us=links,
            jitter=JITTER,
        ),
        heartbeat_us=HEARTBEAT_MS * MS,
    )
    options = Options(check_every=1_000_000, timing=timing or Timing())
    made = Watched(plan, options)
    verdict = made.verdict()
    assert verdict.ending is Ending.PASS, verdict.reason
    delays = sorted(delay * shrink / MS for delay in verdict.delays_us[:commands])
    return Found(delays, made.sent, made.needless, verdict.blocks)


def one_way_ms(scene: Scene) -> float:
    """The mean of all links."""
    places = range(scene.size)
    n = len(scene.delays_ms)
    return mean(scene.delays_ms[a % n][b % n] for a in places for b in places if a != b)


@dataclass
class Row:
    """Means of some seeds. Delays are in mean one-way delays of the scene, `needless` in shares of
    all bytes sent."""

    theory: float
    mean: float
    p99: float
    needless: float

    @property
    def ratio(self) -> float:
        return self.mean / self.theory


def measure(scene: Scene, seeds: int = SEEDS, timing: Timing | None = None) -> Row:
    unit = one_way_ms(scene)
    theory = [run(scene, seed, shrink=SHRINK) for seed in range(seeds)]
    found = [run(scene, seed, timing=timing) for seed in range(seeds)]
    return Row(
        mean(mean(each.delays_ms) for each in theory) / unit,
        mean(mean(each.delays_ms) for each in found) / unit,
        mean(each.delays_ms[COMMANDS * 99 // 100] for each in found) / unit,
        sum(each.needless for each in found) / sum(each.sent.total() for each in found),
    )


def table() -> Iterator[str]:
    """Line by line: a scene takes seconds."""
    yield "from submit to commit at the submitter, in mean one-way delays of the links"
    yield (
        f"{'':>18} {'mode':>9} {'n':>2} {'loss':>5} {'theory':>6} {'mean':>6} {'ratio':>6}"
        f" {'p99':>6}  needless bytes"
    )
    for scene in scenes():
        found = measure(scene)
        yield (
            f"{scene.name:>18} {scene.mode:>9} {scene.size:>2} {scene.loss:>5.0%}"
            f" {found.theory:6.2f} {found.mean:6.2f} {found.ratio:6.2f} {found.p99:6.2f}"
            f"  {found.needless:.1%}"
        )
