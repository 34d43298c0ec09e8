"""Commands taken here, from arrival until they are ordered.

Owns their numbers, the queue of those in no block yet, and which caller waits for which answer.
Must never do I/O: the node stores blocks and what `save` returns, then sends what `acknowledge`
returns.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine import Cancel, Command, Event
from peer.client.programs import Caller
from peer.client.protocol import COMMANDS_PER_REQUEST_MAX, Done, Refused, Result
from peer.consensus.block import PAYLOAD_BYTES_MAX
from peer.node.command_names import ClientId, Taken, client_id_of, named, taken_as
from peer.node.named_results import NamedResults
from peer.node.shares import Holders, Shares, holders_of
from peer.replica.batch import (
    COMMANDS_PER_BLOCK_MAX,
    Batch,
    command_id,
    seq_and_member,
)
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.feature_level import LEVELS, FeatureLevel
from peer.replica.signed import Item, Own, command_of, with_id
from peer.storage.journal import LostJournalError

BLOCK_MS = 25  # in which the block of a new command most likely comes, and makes it durable
PENDING_MAX = 20_000
COMMAND_BYTES_MAX = 1_024
CALLERS_MAX = 8  # that wait for one command
_BATCH_BYTES = 32  # around the commands of a payload


class Acknowledgement(NamedTuple):
    """The ids of a request's commands, and of those that were taken before."""

    caller: Caller
    ids: list[int]
    again: list[int]


class _Waiting(msgspec.Struct, gc=False):
    """An unordered command, and the callers that wait for its result."""

    command: Item
    data: bytes
    callers: tuple[Caller, ...]
    taken_ms: int
    holders: Holders = ()


class Submissions:
    """`me` is this peer's member number, `level` the rules by which blocks are made."""

    def __init__(self, me: int, level: FeatureLevel | None = None) -> None:
        self.me = me
        self._level = level or LEVELS.of(1)
        self._next_seq = 1
        self._taken: dict[int, _Waiting] = {}  # by seq, in order, until ordered
        self._shares = Shares()  # of `_taken`
        self._queue: deque[int] = deque()  # seqs in no block yet
        self._saved_seq = 0  # up to here commands are in the journal, in a block or on their own
        self._urgent_seq = 0  # up to here those that are not must not wait for a block
        # By request: the seqs of its new commands, and what to tell once they are in the journal.
        self._unacknowledged: deque[tuple[range, Acknowledgement]] = deque()
        self._names: dict[ClientId, Taken] = {}  # of those in `_taken`
        self._named = NamedResults()

    def restore(
        self,
        batches: Iterable[Batch],
        pending: list[tuple[int, bytes]],
        expected: int,
        now_ms: int = 0,
    ) -> None:
        """Restore what the journal holds: the commands of own blocks (those from `expected` on are
        not ordered yet), and those in no block. LostJournalError if one is not a command."""
        for batch in batches:
            for seq, command in enumerate(batch.commands, batch.first):
                if seq >= expected:
                    data = self._level.write_command(command)
                    self._taken[seq] = _Waiting(command, data, (), now_ms)
                self._next_seq = max(self._next_seq, seq + 1)
        self._next_seq = max(self._next_seq, expected)
        for seq, data in pending:
            try:
                command = self._level.read_command(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise LostJournalError(f"the journal is damaged: pending {seq}: {error}") from None
            data = self._level.write_command(command)
            self._taken[seq] = _Waiting(command, data, (), now_ms)
            self._queue.append(seq)
            self._next_seq = max(self._next_seq, seq + 1)
        self._taken = dict(sorted(self._taken.items()))
        for entry in self._taken.values():
            if (name := client_id_of(entry.command)) is not None:
                self._names[name] = taken_as(entry.command, entry.command.id)
        self._saved_seq = self._urgent_seq = self._next_seq - 1

    def waits(self, name: ClientId) -> bool:
        """Whether an order of this name waits to be ordered."""
        return name in self._names

    def follow(self, level: FeatureLevel) -> None:
        """From now on blocks are made by these rules. Call `requeue` before, for what waits."""
        if level is not self._level:
            self._level = level
            for entry in self._taken.values():
                entry.data = level.write_command(entry.command)

    @property
    def waiting(self) -> bool:
        """Whether commands wait for the next block."""
        return bool(self._queue)

    @property
    def outstanding(self) -> int:
        """Commands taken and not ordered yet."""
        return len(self._taken)

    def oldest_ms(self, now_ms: int) -> int:
        """How long the oldest of them has waited, or since the start."""
        oldest = next(iter(self._taken.values()), None)
        return 0 if oldest is None else now_ms - oldest.taken_ms

    @property
    def next_seq(self) -> int:
        """The seq of the next command that comes here."""
        return self._next_seq

    @property
    def first_waiting(self) -> int:
        """All commands below this seq are in blocks."""
        return self._queue[0] if self._queue else self._next_seq

    def take(
        self,
        caller: Caller,
        commands: Sequence[Item],
        now_ms: int,
        known: Mapping[ClientId, Taken] | None = None,
        source: str = "",
    ) -> Refused | None:
        """Number and queue the commands; or return why none is taken. An order whose client id is
        `known` was ordered before, through any member: its caller gets its result. A command with a
        `source` counts for that source."""
        if not 1 <= len(commands) <= COMMANDS_PER_REQUEST_MAX:
            text = f"expected 1 to {COMMANDS_PER_REQUEST_MAX} commands, got {len(commands)}"
            return Refused("invalid", text)
        taken: dict[int, _Waiting] = {}
        names: set[ClientId] = set()
        new_names: dict[ClientId, Taken] = {}
        ids: list[int] = []
        again: list[int] = []
        for command in commands:
            seq = self._next_seq + len(taken)
            id_ = command_id(seq, self.me)
            if (name := client_id_of(command)) is not None:
                if name in names:
                    text = f"expected different client ids, got {name.client_id!r:.40} twice"
                    return Refused("invalid", text)
                names.add(name)
                before = self._names.get(name) or (known or {}).get(name)
                mine = taken_as(command, id_)
                if before is not None:
                    if mine.digest != before.digest:
                        text = "another order was sent under this client id before"
                        return Refused("other_order", text)
                    ids.append(before.order)
                    again.append(before.order)
                    continue
                new_names[name] = mine
            new = named(command, id_, ids)
            if new is None:
                return Refused(
                    "invalid", f"command {len(ids) + 1}: expected a reference to an earlier command"
                )
            data = self._level.write_command(new)
            if len(data) > COMMAND_BYTES_MAX:
                text = f"expected a command of at most {COMMAND_BYTES_MAX} bytes, got {len(data)}"
                return Refused("invalid", text)
            taken[seq] = _Waiting(new, data, (caller,), now_ms, holders_of(new, source))
            ids.append(id_)
        if (refused := self._no_room(taken.values())) is not None:
            return refused
        first = self._next_seq
        self._next_seq = end = first + len(taken)
        self._join(caller, again)
        self._taken.update(taken)
        self._shares.hold(entry.holders for entry in taken.values())
        self._queue.extend(taken)
        self._names.update(new_names)
        self._unacknowledged.append((range(first, end), Acknowledgement(caller, ids, again)))
        return None

    def put(self, item: Item, now_ms: int) -> int:
        """Number and queue what this peer says by itself. Nobody waits for it. Returns its id."""
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        new = with_id(item, command_id(seq, self.me))
        self._taken[seq] = _Waiting(new, self._level.write_command(new), (), now_ms)
        self._queue.append(seq)
        return new.id

    def _no_room(self, new: Collection[_Waiting]) -> Refused | None:
        """Why the new commands do not fit beside those already here."""
        if len(self._taken) + len(new) > PENDING_MAX:
            text = f"{len(self._taken)} commands wait to be ordered already: try again later"
            return Refused("busy", text)
        return self._shares.refusal(entry.holders for entry in new)

    def _join(self, caller: Caller, ids: Sequence[int]) -> None:
        """The caller waits for the results of commands taken before. A caller beyond CALLERS_MAX of
        one command learns at once that it gets no result."""
        if ids:  # a result may come at once, so the acknowledgement must too
            self._urgent_seq = self._next_seq - 1
        for id_ in dict.fromkeys(ids):
            seq, member = seq_and_member(id_)
            entry = self._taken.get(seq) if member == self.me else None
            if entry is None:
                self._named.ask((caller,), id_, id_)
            elif caller not in entry.callers:
                if len(entry.callers) < CALLERS_MAX:
                    entry.callers = (*entry.callers, caller)
                else:
                    self._named.ask((caller,), id_, id_)

    def next_payload(self) -> bytes:
        """The next block's payload: the oldest waiting commands that fit; maybe none."""
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
        return self._level.write(first, data)

    @property
    def unsaved(self) -> list[tuple[int, bytes]]:
        """Commands in neither a block nor the journal: seq and encoding."""
        unsaved = []
        for seq in reversed(self._queue):
            if seq <= self._saved_seq:
                break
            unsaved.append((seq, self._taken[seq].data))
        return unsaved[::-1]

    @property
    def save_ms(self) -> int | None:
        """When the unsaved commands must be stored on their own; None if there are none. New ones
        wait for their block, which is synced anyway; those that have lost theirs do not."""
        if not (unsaved := self.unsaved):
            return None
        first, _ = unsaved[0]
        return 0 if first <= self._urgent_seq else self._taken[first].taken_ms + BLOCK_MS

    def save(self, now_ms: int, at_once: bool) -> list[tuple[int, bytes]]:
        """The commands to store on their own in this turn. They and those in blocks are durable
        after that."""
        due_ms = self.save_ms
        commands = self.unsaved if due_ms is not None and (at_once or due_ms <= now_ms) else []
        saved = self._next_seq if commands else self.first_waiting
        self._saved_seq = max(self._saved_seq, saved - 1)
        self._urgent_seq = max(self._urgent_seq, self._saved_seq)
        return commands

    def acknowledge(self, with_commands: bool) -> tuple[list[Command], list[Acknowledgement]]:
        """To send once all is durable that counts as saved: commands of accounts, if somebody
        wants to hear them, and what to tell each caller."""
        commands: list[Command] = []
        told: list[Acknowledgement] = []
        while self._unacknowledged and self._unacknowledged[0][0].stop <= self._saved_seq + 1:
            seqs, one = self._unacknowledged.popleft()
            told.append(one)
            if with_commands:
                entries = (self._taken[seq].command for seq in seqs)
                commands += (command_of(each) for each in entries if not isinstance(each, Own))
        return commands, told

    def lose(self) -> list[Caller]:
        """Nothing more becomes durable. Returns the callers that were told nothing."""
        lost, self._unacknowledged = self._unacknowledged, deque()
        return [told.caller for _, told in lost]

    def known_results(self) -> list[tuple[Caller, Done | Refused]]:
        """To send after `acknowledge` or `done`: the results of orders that were sent again."""
        return self._named.told()

    def done(
        self,
        ids: Sequence[int],
        results: Sequence[list[Event]],
        commit: int = 0,
        time_ms: int = 0,
        trades: Sequence[list[int]] = (),
        firsts: Mapping[int, int] = {},
    ) -> dict[Caller, tuple[list[Result], int]]:
        """A commit ordered commands; `trades` has the numbers of the trades of each, `firsts` what
        `Applied` has. Returns each local caller's results and request time."""
        answers: dict[Caller, tuple[list[Result], int]] = {}
        me, last = self.me, None
        told: list[Result] = []
        for id_, events, numbers in zip(ids, results, trades or [[]] * len(ids), strict=True):
            is_own = id_ % MEMBERS_SPACE == me
            if not (is_own or firsts):
                continue
            first = firsts.get(id_) if firsts else None
            result = Result(id_, events, numbers)
            if first == id_:
                self._named.keep(Done(commit, time_ms, [result]))
            if not is_own:
                continue
            entry = self._let_go(id_ // MEMBERS_SPACE)
            if first is not None and first != id_:
                self._named.ask(entry.callers, id_, first)
                continue
            for caller in entry.callers:
                if caller is not last:  # most commands of a request follow each other
                    last, (told, _) = caller, answers.setdefault(caller, ([], entry.taken_ms))
                told.append(result)
        return answers

    def _let_go(self, seq: int) -> _Waiting:
        """A command stops waiting."""
        entry = self._taken.pop(seq)
        self._shares.free(entry.holders)
        self._free_name(entry)
        return entry

    def _free_name(self, entry: _Waiting) -> None:
        """An order is ordered or withdrawn."""
        if self._names and (name := client_id_of(entry.command)) is not None:
            self._names.pop(name, None)

    def requeue(self, seq: int) -> None:
        """Commands from `seq` on are in no block that can still be ordered, whatever was said
        before (own blocks get lost in byzantine mode). They wait for a block again, stored on their
        own. One that is ordered after all is skipped by its seq."""
        self._queue = deque(taken for taken in self._taken if taken >= seq)
        self._saved_seq = min(self._saved_seq, seq - 1)

    def skip(self, expected: int) -> list[Caller]:
        """Commands below `expected` were ordered while this peer was away, and are done in the
        state it took over. Returns the callers whose results are unknown here."""
        callers: list[Caller] = []
        for seq in [seq for seq in self._taken if seq < expected]:
            callers += self._let_go(seq).callers
        self._queue = deque(seq for seq in self._queue if seq >= expected)
        return list(dict.fromkeys(callers))

    def abandon(self) -> list[Caller]:
        """No peer will order these commands any more. Returns the callers that wait for them."""
        waited = self.callers()
        for each in (self._taken, self._queue, self._shares, self._names):
            each.clear()
        self.lose()
        return waited

    def callers(self) -> list[Caller]:
        """The callers that wait for unordered commands."""
        return list(dict.fromkeys(who for each in self._taken.values() for who in each.callers))

    def withdraw(self, account: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Take back the given commands that are in no block. Returns their seqs and replacements. A
        used number stays used, so later commands keep theirs: a withdrawn command becomes a cancel
        of nothing."""
        withdrawn = {}
        waiting = set(self._queue)
        for id_ in ids:
            seq, member = seq_and_member(id_)
            entry = self._taken.get(seq)
            if member != self.me or seq not in waiting or entry is None:
                continue
            if entry.command.account == account:
                self._free_name(entry)
                entry.command = Cancel(id_, account, 0)
                entry.data = self._level.write_command(entry.command)
                withdrawn[seq] = entry.data
        return withdrawn

    def pending_of(self, account: str) -> list[tuple[int, Command]]:
        """An account's unordered commands, with their ids."""
        entries = (each.command for each in self._taken.values())
        theirs = (each for each in entries if each.account == account)
        return [(each.id, command_of(each)) for each in theirs if not isinstance(each, Own)]
