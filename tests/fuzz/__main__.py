"""`python -m tests.fuzz`: many inputs for every target; `make fuzz` runs it for long.

Half of them are seeded mutations, the same for the same seed. The other half atheris chooses by
what code they reach, where there is a wheel of it for this Python; else these are seeded too.
"""

import faulthandler
import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.fuzz import Target
from tests.fuzz.exchange_targets import TARGETS as EXCHANGE_TARGETS
from tests.fuzz.peer_targets import TARGETS as PEER_TARGETS
from tests.fuzz.tree_targets import TARGETS as TREE_TARGETS
from tests.fuzz.web_targets import TARGETS as WEB_TARGETS

TARGETS = PEER_TARGETS | TREE_TARGETS | WEB_TARGETS | EXCHANGE_TARGETS
# How many of every hundred inputs each target gets: those that cost little get more.
SHARES = {"block": 25, "wire": 25, "snapshot": 12, "wish": 10, "text": 8, "query": 8, "tree": 3}
SHARES |= {"batch": 2, "node": 2, "websocket": 1, "local": 1, "http": 1, "exchange": 2}
POOL_MAX = 200
INPUT_BYTES_MAX = 64 * 1024
HANG_SECONDS = 20


def fuzz(target: Target, inputs: int, rng: random.Random) -> None:
    """Raises what the target raises, after saying over which input."""
    for seed in target.seeds:
        target.run(seed)
    pool = list(target.seeds)
    for _ in range(inputs):
        data = target.mutate(rng, rng.choice(pool))[:INPUT_BYTES_MAX]
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
        try:
            target.run(data)
        except BaseException:
            print(f"over the input {data.hex()}", file=sys.stderr)
            raise
        faulthandler.cancel_dump_traceback_later()
        if rng.random() < 0.02:  # changes upon changes
            pool.append(data)
        if len(pool) > POOL_MAX:
            pool = list(target.seeds)


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, inputs: int, seed: int) -> None:
    """By coverage, in a process of its own: libFuzzer ends the one it runs in."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        for n, data in enumerate(TARGETS[name]().seeds):
            (Path(corpus) / f"seed-{n}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz.guided", name, corpus, f"-runs={inputs}"]
        command += [f"-seed={seed}", f"-timeout={HANG_SECONDS}", f"-max_len={INPUT_BYTES_MAX}"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-4_000:], done.stderr[-8_000:], file=sys.stderr)
        raise SystemExit(f"{name}: atheris found something, see above")


@click.command()
@click.option("--inputs", default=10_000_000, show_default=True, help="Over all targets.")
@click.option("--seed", default=1, show_default=True)
@click.option("--target", "names", multiple=True, type=click.Choice(list(TARGETS)), help="Repeat.")
def main(inputs: int, seed: int, names: tuple[str, ...]) -> None:
    """Feed hostile inputs to whatever reads what others wrote."""
    logging.getLogger("peer").setLevel(logging.CRITICAL)  # what it says of rubbish is no news here
    chosen = names or tuple(TARGETS)
    shares = sum(SHARES[name] for name in chosen)
    if not has_atheris():
        print("atheris has no wheel here: seeded mutations alone")
    for name in chosen:
        count, began_s = inputs * SHARES[name] // shares, time.monotonic()
        by_coverage = count // 2 if has_atheris() else 0
        fuzz(TARGETS[name](), count - by_coverage, random.Random(f"{seed} {name}"))
        if by_coverage:
            guided(name, by_coverage, seed)
        print(
            f"{name:>10}: {count - by_coverage:>9,} seeded, {by_coverage:>9,} by coverage, "
            f"{time.monotonic() - began_s:7.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(prog_name="python -m tests.fuzz")
