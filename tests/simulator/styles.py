"""How the authors of a random graph choose whom to refer to.

Owns the distributions. They are lopsided on purpose: what tells a right commit rule from a wrong
one is a leader with just enough voices, of which later rounds then see just too few.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from peer.consensus.committee import Committee, Mode

SIGNS = (-1, 0, 1)


@dataclass(frozen=True)
class Style:
    """The ways of one round. A sign is 1 for seeking, -1 for avoiding, 0 for neither; and most is
    by author."""

    presence: tuple[float, ...]  # how often it makes a block
    leader: tuple[int, ...]  # whether it seeks to refer to the leader of the round before
    support: tuple[int, ...]  # whether it seeks parents that support a leader
    taste: tuple[tuple[float, ...], ...]  # whom it refers to first (low) and last, all else equal
    camp: tuple[int, ...] = ()  # its camp, if there are two; a liar is in both, with a block each
    generosity: float = 0.0  # how often it refers to one more than it must
    late: float = 0.0  # how often it refers to older blocks of those it left out


def styles(random: Random, committee: Committee, liars: frozenset[int]) -> Iterator[Style]:
    """Without end, one a round."""
    while True:
        kind = random.random()
        if kind < 0.3:
            yield from [_anarchy(random, committee.size)] * random.choice((1, 2, 5))
        elif kind < 0.6:
            yield from [_camps(random, committee.size, liars)] * random.choice((1, 2, 5))
        else:
            yield from _trap(random, committee, liars)


def _anarchy(random: Random, size: int) -> Style:
    """Everybody as it likes."""
    return Style(
        presence=tuple(random.choice((1.0, 1.0, 1.0, 0.9, 0.5)) for _ in range(size)),
        leader=tuple(random.choice((-1, *SIGNS)) for _ in range(size)),
        support=tuple(random.choice(SIGNS) for _ in range(size)),
        taste=_taste(random, size),
        generosity=random.choice((0.0, 0.1, 0.3)),
        late=random.choice((0.0, 0.0, 0.1, 0.5)),
    )


def _taste(random: Random, size: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(random.random() for _ in range(size)) for _ in range(size))


def _camps(random: Random, size: int, liars: frozenset[int]) -> Style:
    """Two camps that keep to themselves as far as they may."""
    camp = tuple(random.randrange(2) for _ in range(size))
    leader = (random.choice((0, *SIGNS)), random.choice((0, *SIGNS)))
    support = (random.choice(SIGNS), random.choice(SIGNS))
    return _split(random, camp, liars, leader, support, random.choice((3.0, 20.0)))


def _split(
    random: Random,
    camp: tuple[int, ...],
    liars: frozenset[int],
    leader: tuple[int, int],
    support: tuple[int, int],
    distance: float,
) -> Style:
    """`leader` and `support` are the signs of the two camps. At a `distance` above 10 a leader of
    the other camp counts for nothing."""
    size = range(len(camp))

    def apart(one: int, other: int) -> bool:
        return other not in liars and camp[one] != camp[other]

    return Style(
        presence=(1.0,) * len(camp),
        leader=tuple(leader[c] for c in camp),
        support=tuple(support[c] for c in camp),
        taste=tuple(
            tuple(
                random.random() + distance * (b not in liars and camp[a] != camp[b]) for b in size
            )
            for a in size
        ),
        camp=camp,
        generosity=random.choice((0.0, 0.0, 0.1)),
    )


def _trap(random: Random, committee: Committee, liars: frozenset[int]) -> Iterator[Style]:
    """A few vote for a leader; of those who could tell, a few do; and the others go on without
    them, until they commit something."""
    size = committee.size
    yield _anarchy(random, size)
    camp = _some(random, size)
    yield _split(random, camp, liars, (-1, 1), (0, 0), distance=0.0)
    if committee.mode is Mode.BYZANTINE or random.random() < 0.5:
        camp = _some(random, size)
        yield _split(random, camp, liars, (0, 0), (-1, 1), distance=0.0)
    for _ in range(random.choice((2, 4, 6))):
        yield _split(random, camp, liars, (0, 0), (random.choice(SIGNS), 0), distance=20.0)


def _some(random: Random, size: int) -> tuple[int, ...]:
    chosen = random.sample(range(size), random.randint(1, size))
    return tuple(int(a in chosen) for a in range(size))
