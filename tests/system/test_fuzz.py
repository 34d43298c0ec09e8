"""A short, seeded part of the fuzzing; `make fuzz` is the long one."""

import random
import subprocess
import sys

import msgspec
import pytest

from engine import HEAD_KEY, Exchange, Market, SnapshotError
from peer.client.endpoint import parse
from peer.client.protocol import Refused
from tests.fuzz import Target, mutate
from tests.fuzz.__main__ import SHARES, TARGETS, fuzz

INPUTS = {"node": 300, "local": 200, "http": 200, "websocket": 300, "batch": 300, "exchange": 600}


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_refused_and_harms_no_other_client(name: str) -> None:
    fuzz(TARGETS[name](), INPUTS.get(name, 2_000), random.Random(1))


def test_every_target_has_its_share() -> None:
    assert SHARES.keys() == TARGETS.keys()
    assert sum(SHARES.values()) == 100


def test_an_exception_of_a_target_is_reported_with_its_input(
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


def test_endlessly_nested_values_are_refused() -> None:
    """Found by fuzzing: a decoder also reads the fields that it skips, and these can nest."""
    encoded = msgspec.msgpack.encode({"type": "get_markets", "more": mutate.DEEP})
    parsed = parse([b"connection", b"id", encoded])
    assert parsed is not None
    assert isinstance(parsed[1], Refused)
    head = msgspec.msgpack.encode([1, [], 0, [], mutate.DEEP])
    orders = msgspec.msgpack.encode([mutate.DEEP])
    for key, piece in ((HEAD_KEY, head), (0, orders)):
        pieces = dict(Exchange([Market("X", "1", "1")]).pieces()) | {key: piece}
        with pytest.raises(SnapshotError):
            Exchange.restore(pieces.items())
