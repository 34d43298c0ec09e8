"""A short, seeded part of the fuzzing; `make fuzz` is the long one."""

import random
import subprocess
import sys

import pytest

from tests.fuzz import Target, mutate
from tests.fuzz.__main__ import SHARES, TARGETS, fuzz

INPUTS = {"node": 300, "local": 200, "http": 200, "websocket": 300, "batch": 300}


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_refused_and_harms_nobody(name: str) -> None:
    fuzz(TARGETS[name](), INPUTS.get(name, 2_000), random.Random(1))


def test_every_target_has_its_share() -> None:
    assert SHARES.keys() == TARGETS.keys()
    assert sum(SHARES.values()) == 100


def test_what_a_target_raises_is_reported_with_its_input(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(data: bytes) -> None:
        if data != b"good":
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        fuzz(Target([b"good"], mutate.of_bytes, run), 100, random.Random(1))
    assert "over the input " in capsys.readouterr().err


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs() -> list[bytes]:
        seen: list[bytes] = []
        target = TARGETS["wire"]()
        fuzz(Target(target.seeds, target.mutate, seen.append), 200, random.Random(7))
        return seen

    assert inputs() == inputs()


def test_the_command_runs(request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "200", "--target", "block"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath)
    assert done.returncode == 0, done.stderr
    assert "block:" in done.stdout
