"""One target under atheris: inputs are chosen by the code they reach. See `tests.fuzz.__main__`."""

import logging
import random
import sys

import atheris

with atheris.instrument_imports(include=["peer", "web", "engine", "wsproto", "waitress"]):
    from tests.fuzz.exchange_targets import TARGETS as EXCHANGE_TARGETS
    from tests.fuzz.peer_targets import TARGETS as PEER_TARGETS
    from tests.fuzz.web_targets import TARGETS as WEB_TARGETS


def main() -> None:
    logging.getLogger("peer").setLevel(logging.CRITICAL)
    program, name, *options = sys.argv
    target = (PEER_TARGETS | WEB_TARGETS | EXCHANGE_TARGETS)[name]()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        changed = atheris.Mutate(data, most) if rng.random() < 0.3 else target.mutate(rng, data)
        return changed[:most]

    atheris.Setup([program, *options], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
