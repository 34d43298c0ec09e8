"""Every graph up to a depth, with every pattern of leaders, one line for each; status 1 at a
contradiction. The times are those of a core.

    python -m tests.exhaustive
    python -m tests.exhaustive --rounds 6    crash mode with three members, one round deeper
"""

import argparse
import sys
import time
from collections.abc import Iterator

from peer.consensus.committee import Mode
from tests.exhaustive.graphs import Contradiction, Family
from tests.exhaustive.lenses import Commits, Decisions, mesh, patterns

LIAR = (0,)


def families(rounds: int) -> Iterator[tuple[str, Family]]:
    """What is to be grown, and how to call it."""
    for size, depth in ((3, rounds), (4, 4)):
        for leaders in patterns(range(1, depth), (), size):
            name = f"crash {size}, {depth} rounds, leaders {_names(leaders)}"
            yield name, Decisions(mesh(Mode.CRASH, size), depth, leaders)
    for leaders in patterns((1, 4), LIAR, 4):
        name = f"byzantine 4, A lies, 6 rounds, leaders {_names(leaders)}"
        yield name, Decisions(mesh(Mode.BYZANTINE, 4), 4, leaders, LIAR, crown=True)
    for first, commits in ((0, 1), (1, 1), (2, 2)):
        name = f"crash 3, 4 rounds, schedules of {commits} from number {first}"
        yield name, Commits(mesh(Mode.CRASH, 3), 4, first, commits, punctual_rounds=1)


def _names(leaders: dict[int, int]) -> str:
    return " ".join(f"{'ABCD'[member]}{slot}" for slot, member in leaders.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="Every graph of a small mesh.")
    parser.add_argument("--rounds", type=int, default=5, help="in crash mode with three members")
    totals = [0, 0, 0]
    began_s = time.process_time()
    for name, family in families(parser.parse_args().rounds):
        start_s = time.process_time()
        try:
            family.grow()
        except Contradiction as contradiction:
            print(f"{name}: two views differ\n{contradiction}")
            return 1
        counts = len(family.outcomes), family.steps, family.stands_for
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        print(f"{name}: {_told(*counts)}, {time.process_time() - start_s:.1f} s", flush=True)
    print(f"no two views differ: {_told(*totals)}, {time.process_time() - began_s:.0f} s")
    return 0


def _told(graphs: int, steps: int, stand_for: int) -> str:
    return f"{graphs:,} graphs for at least {stand_for:.1e}, {steps:,} with a block less"


if __name__ == "__main__":
    sys.exit(main())
