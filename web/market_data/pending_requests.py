"""Commands sent to the node, and the outcomes of recent ones.

Owns the wait for the final answer. Must never answer for the node: a command that is not ordered
yet is `pending`, a refused command was not taken, and an unknown outcome is reported as unknown.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from engine import Cancel, Command, Submit
from peer.client.protocol import (
    Answer,
    Done,
    Execute,
    Queued,
    Refused,
    Result,
    Withdraw,
    Withdrawn,
)
from peer.replica.order_state import Outcome, outcome_of
from peer.replica.signed import Entry, command_of
from web.market_data.node_connection import Link

KNOWN_MAX = 20_000  # commands whose outcome is remembered

OnOrdered = Callable[[Outcome, float], None]  # with the seconds since the command was sent


class Submission:
    """The commands of one request. The link's thread changes it, other threads wait for it."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.began = time.monotonic()
        self.ids: list[int] = []
        self.again: frozenset[int] = frozenset()  # of these ids, those of commands sent before
        self.outcomes: dict[int, Outcome] = {}
        self.refused: Refused | None = None
        self.is_withdrawn = False  # the order was withdrawn, so no cancel was needed
        self.commit = 0
        self.time_ms = 0
        self._lock = threading.Lock()
        self._changed: threading.Condition | None = None  # once a thread waits: most have none

    @property
    def is_complete(self) -> bool:
        return (
            self.refused is not None
            or self.is_withdrawn
            or (bool(self.ids) and len(self.outcomes) == len(set(self.ids)))
        )

    def wait(self, seconds: float) -> bool:
        """True once every outcome is known, False if `seconds` passed first."""
        return self._wait(lambda: self.is_complete, seconds)

    def wait_queued(self, seconds: float) -> bool:
        """True once the node has the commands on disk, or has refused them; False if `seconds`
        passed first."""
        return self._wait(lambda: bool(self.ids) or self.is_complete, seconds)

    def _wait(self, is_done: Callable[[], bool], seconds: float) -> bool:
        with self._lock:
            if self._changed is None:
                self._changed = threading.Condition(self._lock)
            return self._changed.wait_for(is_done, seconds)

    def note(self, reply: Queued | Done | Refused | Withdrawn) -> list[Outcome]:
        """Note an answer of the node; returns the outcomes in it."""
        outcomes: list[Outcome] = []
        with self._lock:
            if isinstance(reply, Refused):
                self.refused = reply
            elif isinstance(reply, Withdrawn):
                self.is_withdrawn = True
            elif isinstance(reply, Queued):
                self.ids, self.again = reply.ids, frozenset(reply.again)
            else:
                commands = dict(zip(self.ids, self.commands, strict=True))
                outcomes = [
                    _outcome_of(commands[result.id], result, reply.time_ms)
                    for result in reply.results
                ]
                self.outcomes.update((outcome.id, outcome) for outcome in outcomes)
                self.commit, self.time_ms = reply.commit, reply.time_ms
            if self._changed is not None:
                self._changed.notify_all()
        return outcomes


def _outcome_of(command: Command, result: Result, time_ms: int) -> Outcome:
    """The outcome of a command; its order is the first one with its client id."""
    counts = result.first or result.id
    outcome = outcome_of(command, counts, result.events, time_ms, result.trades)
    if outcome.order is not None and outcome.order.id == counts:
        outcome.order.time_ms = time_ms
    outcome.id = result.id
    return outcome


OnChange = Callable[[Submission], None]


class PendingRequests:
    """Takes commands from any thread. Its callbacks come on the link's thread; `on_ordered` gets
    the outcome of each new command."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.on_ordered: OnOrdered = lambda outcome, seconds: None
        self._lock = threading.Lock()
        self._known: OrderedDict[int, tuple[Command, Outcome | None]] = OrderedDict()

    def submit(
        self,
        entries: Sequence[Entry],
        source: str,
        on_change: OnChange | None = None,
    ) -> Submission:
        """Send commands of one `source`, an address, in order. `on_change` is called after every
        answer of the node."""
        submission = Submission([command_of(entry) for entry in entries])
        self._send(submission, entries, source, on_change)
        return submission

    def cancel(self, entry: Entry, source: str, on_change: OnChange | None = None) -> Submission:
        """Withdraw an order that is in no block yet; otherwise send the command that cancels it."""
        command = command_of(entry)
        assert isinstance(command, Cancel)
        submission = Submission([command])

        def take(reply: Answer) -> None:
            if not isinstance(reply, Withdrawn) or command.order not in reply.ids:
                self._send(submission, [entry], source, on_change)
                return
            submission.note(reply)
            if on_change is not None:
                on_change(submission)

        if self.is_pending(command.order):
            self._link.request(Withdraw(command.account, [command.order]), take)
        else:
            self._send(submission, [entry], source, on_change)
        return submission

    def _send(
        self,
        submission: Submission,
        entries: Sequence[Entry],
        source: str,
        on_change: OnChange | None,
    ) -> None:
        commands = submission.commands

        def take(reply: Answer) -> None:
            assert isinstance(reply, Queued | Done | Refused), f"{reply} answers an Execute"
            outcomes = submission.note(reply)
            if isinstance(reply, Queued):
                both = zip(reply.ids, commands, strict=True)
                new = [(n, c) for n, c in both if n not in submission.again]
                self._remember([(number, command, None) for number, command in new])
            elif isinstance(reply, Done):
                by_id = dict(zip(submission.ids, commands, strict=True))
                news = [outcome for outcome in outcomes if outcome.id not in submission.again]
                self._remember([(o.id, by_id[o.id], o) for o in news])
                for outcome in news:
                    self.on_ordered(outcome, time.monotonic() - submission.began)
            if on_change is not None:
                on_change(submission)

        self._link.request(Execute(list(entries), source), take)

    def is_pending(self, number: int) -> bool:
        """Whether this gateway sent the order and does not know its outcome yet."""
        command, outcome = self.known(number) or (None, None)
        return isinstance(command, Submit) and outcome is None

    def known(self, number: int) -> tuple[Command, Outcome | None] | None:
        """A recent command of this gateway, and its outcome, which is None while it is pending."""
        with self._lock:
            return self._known.get(number)

    def _remember(self, entries: list[tuple[int, Command, Outcome | None]]) -> None:
        with self._lock:
            for number, command, outcome in entries:
                self._known[number] = (command, outcome)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
