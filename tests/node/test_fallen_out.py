"""Commands whose block can never be ordered: the others went on without it, for too long."""

from collections.abc import Callable
from pathlib import Path

import pytest

from peer.consensus.committee import Mode
from peer.consensus.garbage import EXPIRY_ROUNDS, KEPT_ROUNDS
from peer.storage import data_folder
from tests.disk.world import NAMES, Told, World

AWAY = 0
TURNS_MAX = 4_000


def until(world: World, done: Callable[[], bool]) -> None:
    for _ in range(TURNS_MAX):
        if done():
            return
        world.turn()
    raise AssertionError(world.unsettled())


def top(world: World) -> int:
    return world.nodes[AWAY + 1].ledger.consensus.dag.quorum_round


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("rounds", [EXPIRY_ROUNDS + 20, 2 * (EXPIRY_ROUNDS + KEPT_ROUNDS)])
@pytest.mark.parametrize("restarts", [False, True])
def test_an_acknowledged_command_is_still_ordered(
    tmp_path: Path, mode: Mode, rounds: int, restarts: bool
) -> None:
    """ORDER-28. Within the rounds of which blocks are still to be had, and beyond, by a
    snapshot."""
    for name in NAMES[mode]:
        data_folder.create(tmp_path / name)
    told = Told()
    with World(mode, tmp_path, told, seed=1) as world:
        world.submit(AWAY, 1)
        until(world, lambda: bool(told.taken) and not world.unsettled())
        world.cut = AWAY
        world.submit(AWAY, 3)
        until(world, lambda: len(told.taken) == 4)
        goal = top(world) + rounds
        for _ in range(TURNS_MAX):
            if top(world) >= goal:
                break
            world.submit(AWAY + 1, 1)
            world.turn()
        assert top(world) >= goal
        if not restarts:
            world.cut = None
            until(world, lambda: not world.unsettled())
    with World(mode, tmp_path, told, seed=2) as world:
        until(world, lambda: not world.unsettled())
        assert world.check() == []
