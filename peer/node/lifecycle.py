"""A node's lifecycle: its state, and the allowed transitions.

Owns the state and the reason why a peer has stopped. Must never act on either.
"""

from enum import Enum

from peer.client.protocol import Refused


class State(Enum):
    RUNNING = "running"
    CATCHING_UP = "catching up"  # with members that are far ahead
    STOPPING = "stopping"  # takes no new commands; waiting ones are still ordered, if possible
    HALTED = "halted"  # takes no part until people have examined it
    DISK_FAILED = "disk failed"  # serves what is stored, and takes nothing in


FOLLOWS: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset(set(State) - {State.RUNNING}),
    State.CATCHING_UP: frozenset(set(State) - {State.CATCHING_UP}),
    State.STOPPING: frozenset({State.HALTED, State.DISK_FAILED}),
    State.HALTED: frozenset({State.RUNNING, State.DISK_FAILED}),  # the former by `go_on` alone
    State.DISK_FAILED: frozenset(),
}


class Lifecycle:
    def __init__(self) -> None:
        self.state = State.RUNNING
        self.halted = ""  # why this peer has stopped
        self._epoch: int | None = None  # in which that counts; None: for ever

    def enter(self, state: State) -> bool:
        """Enter a state, if the transition is allowed. Returns whether it was."""
        may = state in FOLLOWS[self.state]
        if may:
            self.state = state
        return may

    def halt(self, why: str, state: State = State.HALTED, epoch: int | None = None) -> bool:
        """Stop taking part, in one epoch or for ever. Returns whether that is new. The first reason
        stays, unless it counts only in an epoch."""
        is_news = not self.halted or (epoch is None and self._epoch is not None)
        if is_news:
            self.halted, self._epoch = why, epoch
        self.enter(state)
        return is_news

    def go_on(self, epoch: int) -> bool:
        """This peer stands in an epoch. Returns whether it takes part again: what has stopped it
        counts only in an earlier one."""
        if self._epoch is None or epoch <= self._epoch or not self.enter(State.RUNNING):
            return False
        self.halted, self._epoch = "", None
        return True

    @property
    def takes_part(self) -> bool:
        return not self.halted

    def refusal(self) -> Refused | None:
        """The answer to a command now; None if commands are taken."""
        if self.halted:
            return Refused("halted", f"this peer has stopped: {self.halted}")
        if self.state is State.STOPPING:
            return Refused("stopping", "this peer is stopping: send the command to another peer")
        return None
