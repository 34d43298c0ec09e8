"""What will go wrong in a run, drawn from its seed.

Owns the mix of faults. A plan is data: the same seed, size and mode always give the same plan, and
`run` only carries it out.
"""

from dataclasses import dataclass
from random import Random

from peer.consensus.committee import Committee, Mode
from tests.simulator.network import CALM, Weather
from tests.simulator.peer import STAGES, Stage
from tests.simulator.world import MS

MESH = b"simulated mesh.."
RIGHT_SKEWS_MS = (0, -40)  # of a clock that shows about what time it is, never later
RIGHT_RATE = 1_000
HOUR_MS = 3_600_000
CHANGING_ADDRESSES = 24  # of the nodes that may ever be in a plan of `draw_changing`


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
class Restore:
    """At `at_us` the member's disk is put back as it was at `copy_us`, and it starts again."""

    copy_us: int
    at_us: int
    member: int


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
    rates: tuple[int, ...] = ()  # how fast each member's clock goes, in thousandths; 0 stands still
    slow: tuple[tuple[int, int], ...] = ()  # member, extra delay of its links in microseconds
    crashes: tuple[Crash, ...] = ()
    cuts: tuple[Cut, ...] = ()
    jumps: tuple[Jump, ...] = ()
    restored: tuple[Restore, ...] = ()
    dead: tuple[tuple[int, int], ...] = ()  # when, which member loses its disk for good
    broken: tuple[tuple[int, int], ...] = ()  # when, whose disk refuses to write from then on
    liars: tuple[tuple[int, str], ...] = ()  # member, kind
    follower: bool = False
    prompt: bool = False  # nothing is slow or away, and no clock is behind

    @property
    def wrong_clocks(self) -> set[int]:
        """Members that do not always say about what time it is."""
        off = {m for m, by_ms in enumerate(self.skew_ms) if by_ms not in RIGHT_SKEWS_MS}
        off |= {m for m, rate in enumerate(self.rates) if rate != RIGHT_RATE}
        return off | {jump.member for jump in self.jumps} | {member for member, _ in self.liars}

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
    if who.faults and random.random() < 0.03:
        return _restored(seed, who, random)
    if random.random() < 0.02:
        return _asleep(seed, who, random)
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=_commands(random, size, heal_us),
        weather=_weather(random),
        heartbeat_us=random.choice((40, 100, 250)) * MS,
        fsync_us=tuple(random.choice((0, 0, 200, 1_000, 8_000)) for _ in range(size)),
        skew_ms=_skews(random, who),
        rates=_rates(random, who),
        slow=_slow(random, size),
        crashes=_crashes(random, size, heal_us),
        cuts=_cuts(random, size, heal_us),
        jumps=_jumps(random, who, heal_us),
        dead=dead,
        liars=liars,
        follower=random.random() < 0.1,
    )


def draw_long(seed: int, size: int, mode: Mode) -> Plan:
    """For whole nodes: enough commits that snapshots are taken, signed by a quorum and handed to
    those who were away longer than blocks are kept; and now and then a disk that fails."""
    who = committee(size, mode)
    if who.faults and Random(f"behind {seed} {size} {mode}").random() < 0.15:
        return _behind(seed, who, Random(f"left behind {seed} {size} {mode}"))
    random = Random(f"long plan {seed} {size} {mode}")
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
        skew_ms=_skews(random, who),
        rates=_rates(random, who),
        slow=_slow(random, size),
        crashes=tuple(crashes),
        cuts=_cuts(random, size, heal_us) if random.random() < 0.5 else (),
        dead=tuple((random.randrange(heal_us), m) for m in faulty[1:] if random.random() < 0.5),
        broken=tuple((random.randrange(heal_us), m) for m in faulty if random.random() < 0.3),
        follower=random.random() < 0.2,
    )


def draw_changing(seed: int, size: int, mode: Mode) -> Plan:
    """For nodes that come and go. Commands are for addresses; those that are no members take none.
    Nobody is lost here: that is part of the changes."""
    who = committee(size, mode)
    random = Random(f"changing plan {seed} {size} {mode}")
    is_long = random.random() < 0.05
    heal_us = (3_000 if is_long else random.choice((400, 800, 1_500))) * MS
    amount = 250 if is_long else random.choice((0, 10, 30, 80))
    seen = range(size + 4)
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple(
            sorted((random.randrange(heal_us), random.choice(seen)) for _ in range(amount))
        ),
        weather=CALM if random.random() < 0.5 else _weather(random),
        fsync_us=tuple(random.choice((0, 0, 200, 1_000, 8_000)) for _ in range(size)),
        slow=_slow(random, size),
        crashes=_crashes(random, size, heal_us),
        cuts=_cuts(random, CHANGING_ADDRESSES, heal_us) if random.random() < 0.4 else (),
        follower=False,
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
            Crash(cut_us + random.randrange(heal_us - cut_us), alone, random.choice(STAGES), 0)
            for _ in range(random.randint(0, 2))
        ),
    )


def _behind(seed: int, who: Committee, random: Random) -> Plan:
    """One member is away until its blocks are no more to be had, and comes back while the others
    trade on: to a state that is a newer one each time it is asked for."""
    heal_us = 1_600 * MS
    away = random.randrange(who.size)
    others = [m for m in range(who.size) if m != away]
    busy = [(at, random.choice(others)) for at in range(0, heal_us, 5 * MS)]
    back_us = random.randrange(1_000, 1_300) * MS
    crashes = [Crash(50 * MS, away, Stage.NOW, back_us - 50 * MS)]
    if random.random() < 0.5:  # once more, while it catches up
        at_us = back_us + random.randrange(100 * MS)
        crashes.append(Crash(at_us, away, random.choice(STAGES), 20 * MS))
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple(busy),
        weather=CALM if random.random() < 0.5 else _weather(random),
        slow=_slow(random, who.size),
        crashes=tuple(crashes),
        follower=random.random() < 0.2,
    )


def _restored(seed: int, who: Committee, random: Random) -> Plan:
    """One member's disk is put back from a copy that was taken when the mesh was idle, with a
    client that goes on at once. All others are there and have heard what the copy does not know."""
    heal_us = 1_500 * MS
    member = random.randrange(who.size)
    copy_us, at_us = random.randrange(200, 400) * MS, random.randrange(700, 1_000) * MS
    busy = [*range(0, 100 * MS, 20 * MS), *range(copy_us + 10 * MS, heal_us, 5 * MS)]
    return Plan(
        seed=seed,
        committee=who,
        heal_us=heal_us,
        commands=tuple((at, member) for at in busy),
        restored=(Restore(copy_us, at_us, member),),
    )


def _asleep(seed: int, who: Committee, random: Random) -> Plan:
    """The mesh is idle for long, between a burst of commands and lone ones. Some clocks are ahead,
    or gain; all others are right."""
    wrong = random.sample(range(who.size), random.randint(0, who.faults))
    skew_ms, rates = [0] * who.size, [RIGHT_RATE] * who.size
    for member in wrong:
        skew_ms[member] = random.choice((HOUR_MS, 9_000 * HOUR_MS, 0))
        rates[member] = random.choice((RIGHT_RATE, 1_100, 3_000))
    pause_us = random.randrange(5_000, 20_000) * MS
    times = [random.randrange(200 * MS) for _ in range(20)]
    times += [pause_us + n * random.randrange(100, 2_500) * MS for n in range(4)]
    return Plan(
        seed=seed,
        committee=who,
        heal_us=max(times) + 500 * MS,
        commands=tuple(sorted((at, random.randrange(who.size)) for at in times)),
        skew_ms=tuple(skew_ms),
        rates=tuple(rates),
        prompt=True,
    )


def _skews(random: Random, who: Committee) -> tuple[int, ...]:
    """Mostly a minority of wrong clocks, which must not matter, sometimes any number."""
    odd = (3_000, -50_000, -HOUR_MS, HOUR_MS, 9_000 * HOUR_MS)
    wrong = random.sample(range(who.size), random.randint(0, who.faults))
    if random.random() < 0.1:
        wrong = list(range(who.size))
    return tuple(
        random.choice(odd) if m in wrong else random.choice(RIGHT_SKEWS_MS) for m in range(who.size)
    )


def _rates(random: Random, who: Committee) -> tuple[int, ...]:
    if random.random() < 0.7:
        return ()
    wrong = random.sample(range(who.size), random.randint(0, who.faults))
    return tuple(
        random.choice((0, 500, 1_100, 3_000)) if m in wrong else RIGHT_RATE for m in range(who.size)
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
        crashes.append(Crash(at, random.randrange(size), random.choice(STAGES), down))
    if random.random() < 0.15:  # the power fails for all at once
        at = random.randrange(heal_us)
        crashes += [Crash(at, m, random.choice(STAGES), 20 * MS) for m in range(size)]
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


def _jumps(random: Random, who: Committee, heal_us: int) -> tuple[Jump, ...]:
    """Of one member's clock or, where one may be wrong, mostly of that; there and back."""
    if random.random() < 0.6:
        return ()
    member = random.randrange(who.size)
    steps = (-HOUR_MS, -5_000, -50, 50, 5_000, HOUR_MS, 9_000 * HOUR_MS)
    jumps = []
    for _ in range(random.randint(1, 3)):
        at, by_ms = random.randrange(heal_us), random.choice(steps)
        jumps.append(Jump(at, member, by_ms))
        if random.random() < 0.5:
            jumps.append(Jump(at + random.choice((20, 200)) * MS, member, -by_ms))
    return tuple(jumps)
