"""Commands taken here, from their arrival until they are ordered.

Owns their numbering, the queue of those in no block yet, and who waits for which answer. Must never
do I/O: the node stores `unsaved`, then sends what `acknowledge` says.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from engine.orders import Cancel, Command, Event, Reduce, Replace
from peer.api import COMMANDS_PER_REQUEST_MAX, Refused, Result
from peer.block import PAYLOAD_BYTES_MAX
from peer.local import Caller
from peer.replica import COMMANDS_PER_BLOCK_MAX, Batch, command_id, encode_batch, seq_and_member

PENDING_MAX = 20_000
COMMAND_BYTES_MAX = 1_024
_BATCH_BYTES = 32  # around the commands of a payload

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Command)


class _Taken:
    """A command on its way."""

    __slots__ = ("caller", "command", "data", "taken_ms")

    def __init__(self, command: Command, data: bytes, caller: Caller | None, taken_ms: int) -> None:
        self.command = command
        self.data = data
        self.caller = caller
        self.taken_ms = taken_ms


class Submissions:
    """`me` is this peer's member number."""

    def __init__(self, me: int) -> None:
        self._me = me
        self._next_seq = 1
        self._taken: dict[int, _Taken] = {}  # by seq, in order, until ordered
        self._queue: deque[int] = deque()  # seqs in no block yet
        self._saved_seq = 0  # up to here commands are in the journal, in a block or on their own
        self._unacknowledged: list[tuple[Caller, list[int]]] = []

    def restore(
        self, batches: Iterable[Batch], pending: list[tuple[int, bytes]], expected: int
    ) -> None:
        """Take back what the journal holds: the commands of own blocks, of which those from
        `expected` on are not ordered yet, and those in no block."""
        for batch in batches:
            for seq, command in enumerate(batch.commands, batch.first):
                if seq >= expected:
                    self._taken[seq] = _Taken(command, _encode(command), None, 0)
                self._next_seq = max(self._next_seq, seq + 1)
        self._next_seq = max(self._next_seq, expected)
        for seq, data in pending:
            self._taken[seq] = _Taken(_decoder.decode(data), data, None, 0)
            self._queue.append(seq)
            self._next_seq = seq + 1
        self._saved_seq = self._next_seq - 1

    @property
    def waiting(self) -> bool:
        """Whether there are commands for the next block."""
        return bool(self._queue)

    @property
    def outstanding(self) -> int:
        """Commands taken and not ordered yet."""
        return len(self._taken)

    @property
    def first_waiting(self) -> int:
        """All commands below this seq have been put into blocks."""
        return self._queue[0] if self._queue else self._next_seq

    def take(self, caller: Caller, commands: Sequence[Command], now_ms: int) -> Refused | None:
        """Number the commands and queue them; or say why none of them is taken."""
        if not 1 <= len(commands) <= COMMANDS_PER_REQUEST_MAX:
            text = f"expected 1 to {COMMANDS_PER_REQUEST_MAX} commands, got {len(commands)}"
            return Refused("invalid", text)
        if len(self._taken) + len(commands) > PENDING_MAX:
            text = f"{len(self._taken)} commands wait to be ordered already: try again later"
            return Refused("busy", text)
        taken: list[_Taken] = []
        for seq, command in enumerate(commands, self._next_seq):
            named = self._name(command, seq, len(taken))
            if named is None:
                return Refused("invalid", f"command {len(taken) + 1} refers to no earlier one")
            data = _encode(named)
            if len(data) > COMMAND_BYTES_MAX:
                text = f"a command has at most {COMMAND_BYTES_MAX} bytes, not {len(data)}"
                return Refused("invalid", text)
            taken.append(_Taken(named, data, caller, now_ms))
        first = self._next_seq
        self._next_seq += len(taken)
        self._taken.update(enumerate(taken, first))
        self._queue.extend(range(first, self._next_seq))
        self._unacknowledged.append((caller, [entry.command.id for entry in taken]))
        return None

    def _name(self, command: Command, seq: int, place: int) -> Command | None:
        """The command at a place of its request with its id, and with the id of the order it
        refers to by its place; None if that is not before it."""
        id_ = command_id(seq, self._me)
        if not isinstance(command, Cancel | Reduce | Replace) or command.order >= 0:
            return msgspec.structs.replace(command, id=id_)
        if -command.order > place:
            return None
        order = command_id(seq - place - command.order - 1, self._me)
        return msgspec.structs.replace(command, id=id_, order=order)

    def next_payload(self) -> bytes:
        """The payload for the next block: the longest waiting commands that fit; maybe none."""
        if not self._queue:
            return b""
        first = self._queue[0]
        data: list[bytes] = []
        room = PAYLOAD_BYTES_MAX - _BATCH_BYTES
        while self._queue and len(data) < COMMANDS_PER_BLOCK_MAX:
            entry = self._taken[self._queue[0]]
            room -= len(entry.data)
            if room < 0:
                break
            data.append(entry.data)
            self._queue.popleft()
        return encode_batch(first, data)

    @property
    def unsaved(self) -> list[tuple[int, bytes]]:
        """Commands that are neither in a block nor in the journal: seq and encoding."""
        unsaved = []
        for seq in reversed(self._queue):
            if seq <= self._saved_seq:
                break
            unsaved.append((seq, self._taken[seq].data))
        return unsaved[::-1]

    def acknowledge(self) -> list[tuple[Caller, list[int]]]:
        """All commands are durable now: who is to be told, and the ids."""
        self._saved_seq = self._next_seq - 1
        told, self._unacknowledged = self._unacknowledged, []
        return told

    def done(
        self, ids: Sequence[int], results: Sequence[list[Event]]
    ) -> dict[Caller, tuple[list[Result], int]]:
        """Commands were ordered: the results for each caller here, and when it had asked."""
        answers: dict[Caller, tuple[list[Result], int]] = {}
        for id_, events in zip(ids, results, strict=True):
            seq, member = seq_and_member(id_)
            if member != self._me:
                continue
            entry = self._taken.pop(seq)
            if entry.caller is not None:
                answer = answers.setdefault(entry.caller, ([], entry.taken_ms))
                answer[0].append(Result(id_, events))
        return answers

    def resend(self) -> None:
        """Own blocks were lost (byzantine mode): queue again all that has not been ordered. What
        turns out to be ordered after all is skipped by its seq."""
        self._queue = deque(self._taken)

    def skip(self, expected: int) -> list[Caller]:
        """Commands below `expected` were ordered while this peer was away, and it took over a
        state in which they are done: who waits for a result that is not known here."""
        callers = []
        for seq in [seq for seq in self._taken if seq < expected]:
            caller = self._taken.pop(seq).caller
            if caller is not None:
                callers.append(caller)
        self._queue = deque(seq for seq in self._queue if seq >= expected)
        return list(dict.fromkeys(callers))

    def withdraw(self, account: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Take back those of the commands that are in no block: their seqs, and what goes into
        their places. A number once given is used, so that the ones behind keep theirs: a
        withdrawn command becomes a cancel of nothing."""
        withdrawn = {}
        waiting = set(self._queue)
        for id_ in ids:
            seq, member = seq_and_member(id_)
            entry = self._taken.get(seq)
            if member != self._me or seq not in waiting or entry is None:
                continue
            if entry.command.account == account:
                entry.command = Cancel(id_, account, 0)
                entry.data = _encode(entry.command)
                withdrawn[seq] = entry.data
        return withdrawn

    def pending_of(self, account: str) -> list[tuple[int, Command]]:
        """An account's commands that are not ordered yet, with their ids."""
        commands = (entry.command for entry in self._taken.values())
        return [(command.id, command) for command in commands if command.account == account]
