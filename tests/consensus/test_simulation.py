"""The simulated mesh, a few seeds of every kind; `make sim SEEDS=...` runs more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations import Mutation, mutated
from tests.mutations.__main__ import MUTATIONS

ROOT = Path(__file__).parents[2]
HANGS_S = 560  # such a run takes half a minute, on a busy machine minutes
pytestmark = pytest.mark.timeout(600)


def simulate(*arguments: str, hash_seed: str = "0") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulator", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )


@pytest.mark.parametrize(("mode", "seeds"), [("crash", 120), ("byzantine", 40)])
def test_all_peers_have_one_order_and_apply_every_command_once(mode: str, seeds: int) -> None:
    """ORDER-16, ORDER-20, ORDER-27, ORDER-36."""
    done = simulate("--seeds", str(seeds), "--mode", mode, "--first")
    assert done.returncode == 0, done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == [mode]]
    assert [row[1] for row in rows] == ["1", "3", "4", "5", "7"]
    assert sum(int(row[2]) for row in rows) == seeds, "all pass"
    assert all(int(row[7]) > 0 for row in rows), "and commands were applied in each"


@pytest.mark.parametrize(("mode", "size"), [("crash", 25), ("crash", 2), ("byzantine", 13)])
def test_other_sizes(mode: str, size: int) -> None:
    done = simulate("--seeds", "1", "--mode", mode, "--n", str(size), "--first")
    assert done.returncode == 0, done.stdout


def test_a_seed_gives_the_same_run_under_any_hash_seed() -> None:
    runs = [simulate("--seeds", "10", "--first", hash_seed=seed) for seed in ("1", "2")]
    digests = [run.stdout.partition("digest of 10 runs: ")[2].split()[0] for run in runs]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 32


@pytest.mark.parametrize("mode", ["crash", "byzantine"])
def test_whole_nodes_keep_their_promises(mode: str) -> None:
    """ORDER-29, ORDER-31, ORDER-35. With the real ledger, journal and engine: snapshots, restarts
    from them, failing disks."""
    done = simulate("--nodes", "--seeds", "10", "--mode", mode, "--n", "1,3,4,3,5", "--first")
    assert done.returncode == 0, done.stdout


def test_dead_members_and_wrong_clocks_together_may_stop_the_ordered_clock() -> None:
    """ORDER-20. Two of seven members are dead, and two clocks are an hour behind: then the ordered
    clock stands still, and orders of an idle mesh expire no more."""
    done = simulate("--nodes", "--trace", "30028", "--mode", "crash", "--n", "7")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("mode", ["crash", "byzantine"])
def test_members_come_and_go(mode: str) -> None:
    """ORDER-45, ORDER-46, ORDER-48, ORDER-50. Whole nodes that die at the ends of epochs."""
    done = simulate("--epochs", "--seeds", "4", "--mode", mode, "--n", "1,3", "--first")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("seed", [31028, 31149, 31177, 31510, 50008, 52324])
def test_a_seed_that_has_found_a_fault_passes(seed: int) -> None:
    """ORDER-50, ORDER-53. What each found is in docs/ordering.md. With other plans or rules a seed
    is another run; `test_seating` and the mutations hold the rules themselves."""
    done = simulate("--epochs", "--n", "1,3,4", "--start", str(seed), "--seeds", "1", "--first")
    assert done.returncode == 0, done.stdout


def test_changes_of_members_are_the_same_under_any_hash_seed() -> None:
    runs = [simulate("--epochs", "--seeds", "2", "--n", "3", hash_seed=seed) for seed in ("1", "2")]
    digests = [run.stdout.partition("digest of 2 runs: ")[2].split()[0] for run in runs]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_still_applies_to_the_code(mutation: Mutation) -> None:
    assert mutated(mutation) or "--habit" in mutation.trial


def test_the_simulator_notices_a_broken_rule() -> None:
    """ORDER-29."""
    command = [sys.executable, "-m", "tests.mutations", "send before fsync"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.stdout.splitlines()[-1] == "1 of 1 mutations caught"
