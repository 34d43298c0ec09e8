"""All mutations, or those named, against the simulator."""

import sys
from collections.abc import Sequence

from tests.mutations import hunt
from tests.mutations.clock import CLOCK
from tests.mutations.disk import DISK
from tests.mutations.epochs import EPOCHS
from tests.mutations.levels import LEVELS
from tests.mutations.life import LIFE
from tests.mutations.order import ORDER
from tests.mutations.rule import RULE

MUTATIONS = ORDER + RULE + LIFE + CLOCK + DISK + EPOCHS + LEVELS


def main(names: Sequence[str]) -> int:
    chosen = [m for m in MUTATIONS if not names or m.name in names]
    survivors = []
    for mutation in chosen:
        outcome = hunt(mutation)
        mark = "caught" if outcome.caught else "SURVIVED"
        print(f"{mark:8} {mutation.name:38} {outcome.seconds:5.1f} s  {outcome.how}", flush=True)
        if not outcome.caught:
            survivors.append(mutation.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutations caught")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
