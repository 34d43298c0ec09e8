"""The states of the last checkpoints, piece by piece, for peers that compare theirs.

Owns which states are kept. Must never cost more than what changed since the oldest of them.
"""

from collections import deque
from typing import NamedTuple

from engine import HashTree
from peer.replica.snapshot import Frozen

CHECKPOINTS_KEPT = 8
PIECES_KEPT_MAX = 10_000  # changed since, all states together without the last one


class _State(NamedTuple):
    commit: int
    tree: HashTree
    frozen: Frozen


class RecentStates:
    def __init__(self) -> None:
        self._states: deque[_State] = deque()

    def add(self, commit: int, tree: HashTree, frozen: Frozen) -> None:
        """Add the state of a checkpoint. Beyond the limits, drop the oldest states."""
        kept = sum(state.frozen.kept for state in self._states)
        while self._states and (len(self._states) >= CHECKPOINTS_KEPT or kept > PIECES_KEPT_MAX):
            kept -= self._states[0].frozen.kept
            self._states.popleft().frozen.close()
        self._states.append(_State(commit, tree, frozen))

    def tree(self, commit: int) -> HashTree | None:
        """None if the state is not kept."""
        state = self._find(commit)
        return None if state is None else state.tree

    def piece(self, commit: int, key: int) -> bytes | None:
        """Empty if the state had no piece under `key`; None if the state is not kept."""
        state = self._find(commit)
        return None if state is None else state.frozen.piece(key)

    def _find(self, commit: int) -> _State | None:
        return next((state for state in self._states if state.commit == commit), None)
