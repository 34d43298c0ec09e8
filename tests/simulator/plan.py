"""What will go wrong in a run, drawn from its seed.

Owns the mix of faults. A plan is data: the same seed, size and mode always give the same plan, and
`run` only carries it out.
"""

from dataclasses import dataclass
from random import Random

from peer.committee import Committee, Mode
from tests.simulator.network import CALM, Weather
from tests.simulator.peer import Stage
from tests.simulator.world import MS

MESH = b"simulated mesh.."


@dataclass(frozen=True)
class Crash:
    at_us: int
    member: int
    stage: Stage
    down_us: int


@dataclass(frozen=True)
class Cut:
    """From `at_us` on, for `for_us`: members on different sides do not hear each other. `one_way`
    names a single link that is down instead."""

    at_us: int
    for_us: int
    sides: tuple[int, ...] = ()
    one_way: tuple[int, int] | None = None


@dataclass(frozen=True)
class Jump:
    at_us: int
    member: int
    by_ms: int


@dataclass(frozen=True)
class Plan:
    seed: int
    committee: Committee
    heal_us: int  # when faults stop and messages flow
    commands: tuple[tuple[int, int], ...]  # when, at which member
    weather: Weather = CALM
    heartbeat_us: int = 100 * MS
    fsync_us: tuple[int, ...] = ()
    skew_ms: tuple[int, ...] = ()
    slow: tuple[tuple[int, int], ...] = ()  # member, extra delay of its links in microseconds
    crashes: tuple[Crash, ...] = ()
    cuts: tuple[Cut, ...] = ()
    jumps: tuple[Jump, ...] = ()
    dead: tuple[tuple[int, int], ...] = ()  # when, which member loses its disk for good
    broken: tuple[tuple[int, int], ...] = ()  # when, whose disk refuses to write from then on
    liars: tuple[tuple[int, str], ...] = ()  # member, kind
    follower: bool = False

    @property
    def name(self) -> str:
        return f"{self.committee.mode}-{self.committee.size}-{self.seed}"


def committee(size: int, mode: Mode) -> Committee:
    return Committee(MESH, size, mode, created_ms=1_600_000_000_000)


def draw(seed: int, size: int, mode: Mode, kinds: tuple[str, ...] = ()) -> Plan:
    """The plan of a seed; `kinds` are the lies that byzantine members may tell."""
    random = Random(f"plan {seed} {size} {mode}")
    who = committee(size, mode)
    heal_us = random.choice((300, 600, 1_000, 1_500)) * MS
    faulty = random.sample(range(size), random.randint(0, who.faults))
    liars = tuple((m, random.choice(kinds)) for m in faulty) if kinds else ()
    if random.random() < 0.3 or not kinds:
        liars = liars[: random.randint(0, len(liars))]
    spare = [m for m in faulty if m not in dict(liars)]
    dead = tuple((random.randrange(heal_us), m) for m in spare if random.random() < 0.5)
    if mode is Mode.CRASH and who.faults and random.random() < 0.1:
        return _relay(seed, who, random)
    if who.faults and random.random() < 0.02:
        return _stranded(seed, who, random)
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=_commands(random, size, heal_us),
        weather=_weather(random),
        heartbeat_us=random.choice((40, 100, 250)) * MS,
        fsync_us=tuple(random.choice((0, 0, 200, 1_000, 8_000)) for _ in range(size)),
        skew_ms=tuple(random.choice((0, 0, -40, 3_000, -50_000)) for _ in range(size)),
        slow=_slow(random, size),
        crashes=_crashes(random, size, heal_us),
        cuts=_cuts(random, size, heal_us),
        jumps=_jumps(random, size, heal_us),
        dead=dead,
        liars=liars,
        follower=random.random() < 0.1,
    )


def draw_long(seed: int, size: int, mode: Mode) -> Plan:
    """For whole nodes: enough commits that snapshots are taken, signed by a quorum and handed to
    those who were away longer than blocks are kept; and now and then a disk that fails."""
    random = Random(f"long plan {seed} {size} {mode}")
    who = committee(size, mode)
    heal_us = random.choice((1_000, 2_000, 3_000)) * MS
    faulty = random.sample(range(size), random.randint(0, who.faults))
    crashes = list(_crashes(random, size, heal_us))
    if faulty and random.random() < 0.7:  # away for most of the time
        crashes.append(Crash(random.randrange(100 * MS), faulty[0], Stage.NOW, heal_us))
    amount = random.choice((60, 150, 300))
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple(
            sorted((random.randrange(heal_us), random.randrange(size)) for _ in range(amount))
        ),
        weather=CALM if random.random() < 0.5 else _weather(random),
        fsync_us=tuple(random.choice((0, 0, 200, 1_000, 8_000)) for _ in range(size)),
        skew_ms=tuple(random.choice((0, 0, -40)) for _ in range(size)),
        slow=_slow(random, size),
        crashes=tuple(crashes),
        cuts=_cuts(random, size, heal_us) if random.random() < 0.5 else (),
        dead=tuple((random.randrange(heal_us), m) for m in faulty[1:] if random.random() < 0.5),
        broken=tuple((random.randrange(heal_us), m) for m in faulty if random.random() < 0.3),
        follower=random.random() < 0.2,
    )


def _relay(seed: int, who: Committee, random: Random) -> Plan:
    """f members are away until the schedule of leaders does without them; when they are back, f
    of the others die. So no more than f are ever away, but the leaders are few and partly dead."""
    members = random.sample(range(who.size), who.size)
    away, dying = members[: who.faults], members[who.faults : 2 * who.faults]
    heal_us = 1_500 * MS
    back_us = random.randrange(500, 1_200) * MS
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple(
            sorted((random.randrange(heal_us), random.choice(members)) for _ in range(150))
        ),
        weather=_weather(random),
        crashes=tuple(Crash(0, m, Stage.NOW, back_us) for m in away),
        dead=tuple((back_us + random.randrange(60) * MS, m) for m in dying),
    )


def _stranded(seed: int, who: Committee, random: Random) -> Plan:
    """One member is cut off, with commands in a block that nobody got, until the others are so many
    rounds further that in byzantine mode the block is garbage."""
    heal_us = 600 * MS
    alone = random.randrange(who.size)
    others = [m for m in range(who.size) if m != alone]
    cut_us = random.randrange(20, 100) * MS
    busy = [(at, random.choice(others)) for at in range(0, heal_us, 3 * MS)]
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple(sorted([*busy, *((cut_us + n, alone) for n in range(1, 4))])),
        cuts=(Cut(cut_us, heal_us - cut_us, tuple(int(m == alone) for m in range(who.size))),),
        crashes=tuple(
            Crash(cut_us + random.randrange(heal_us - cut_us), alone, random.choice(list(Stage)), 0)
            for _ in range(random.randint(0, 2))
        ),
    )


def _commands(random: Random, size: int, heal_us: int) -> tuple[tuple[int, int], ...]:
    """Spread over the faulty time, or in bursts, or by one busy member."""
    amount = random.choice((1, 10, 40, 120)) if random.random() < 0.97 else 500
    busy = random.randrange(size) if random.random() < 0.2 else None
    bursts = [random.randrange(heal_us) for _ in range(random.randint(1, 4))]
    spread = random.random() < 0.6
    times = []
    for _ in range(amount):
        at = random.randrange(heal_us) if spread else random.choice(bursts)
        times.append((at, random.randrange(size) if busy is None else busy))
    return tuple(sorted(times))


def _weather(random: Random) -> Weather:
    unit = random.choice((500, 500, 1_500, 4_000))
    rough = random.random() < 0.6
    return Weather(
        base_us=unit,
        spread_us=random.choice((0, unit, 4 * unit)),
        loss=random.choice((0.0, 0.02, 0.1, 0.3)) if rough else 0.0,
        duplicate=random.choice((0.0, 0.1)),
        straggle=random.choice((0.0, 0.05, 0.3)) if rough else 0.0,
        straggle_us=random.choice((20, 200)) * MS,
        in_order=random.random() < 0.3,
    )


def _slow(random: Random, size: int) -> tuple[tuple[int, int], ...]:
    if random.random() < 0.7:
        return ()
    return ((random.randrange(size), random.choice((3, 10, 60)) * MS),)


def _crashes(random: Random, size: int, heal_us: int) -> tuple[Crash, ...]:
    if random.random() < 0.4:
        return ()
    crashes = []
    for _ in range(random.randint(1, 5)):
        at = random.randrange(heal_us)
        down = random.choice((0, 5, 50, 400)) * MS
        crashes.append(Crash(at, random.randrange(size), random.choice(list(Stage)), down))
    if random.random() < 0.15:  # the power fails for all at once
        at = random.randrange(heal_us)
        crashes += [Crash(at, m, random.choice(list(Stage)), 20 * MS) for m in range(size)]
    return tuple(crashes)


def _cuts(random: Random, size: int, heal_us: int) -> tuple[Cut, ...]:
    if size == 1 or random.random() < 0.5:
        return ()
    cuts = []
    for _ in range(random.randint(1, 3)):
        at, length = random.randrange(heal_us), random.randrange(heal_us)
        if random.random() < 0.3:
            a, b = random.sample(range(size), 2)
            cuts.append(Cut(at, length, one_way=(a, b)))
        else:
            cuts.append(Cut(at, length, tuple(random.randrange(2) for _ in range(size))))
    return tuple(cuts)


def _jumps(random: Random, size: int, heal_us: int) -> tuple[Jump, ...]:
    if random.random() < 0.6:
        return ()
    steps = (-3_600_000, -5_000, -50, 50, 5_000, 3_600_000)
    return tuple(
        Jump(random.randrange(heal_us), random.randrange(size), random.choice(steps))
        for _ in range(random.randint(1, 3))
    )
