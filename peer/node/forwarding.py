"""Signed orders at a peer that only follows: to a member, and what became of them.

Owns the orders that wait here, and which member to ask. Must never report a result that this peer
has not derived itself from the one order, and must never take an order: until a member has answered
it is on no disk.

An order may reach several members, if one does not answer. Its nonce lets it take effect only once
(see `replica.nonces`): the first copy in the order counts, and tells the result.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from engine import Event, Reason, Rejected
from peer.client.programs import Caller
from peer.client.protocol import FORWARDED_MAX, Done, Queued, Refused, Reply, Result, format_id
from peer.network.messages import ForwardAnswered, ForwardWanted
from peer.replica.applied import Applied
from peer.replica.signed import Entry, Signed
from peer.replica.state_machine import Replica

WAITING_MAX = 2_000  # requests of programs
WAITING_SOURCE_MAX = 200  # of them, from one source: see `Execute.source`
UNANSWERED_MAX = 8  # that one member is asked at once
ANSWER_MS = 2_000  # then another member is asked
REST_MS = 5_000  # a member that did not answer, or takes no orders, is not asked for so long
FORGET_MS = 60_000  # an order without a result

_ELSEWHERE = frozenset(("busy", "halted", "not_member", "stopping"))  # another member may take it
# A copy that peers refuse for one of these has not used its nonce: another copy may still count.
_NOT_USED = frozenset(
    (Reason.BAD_SIGNATURE, Reason.NONCE_USED, Reason.SIGNATURE_EXPIRED, Reason.TOO_MANY_KEYS)
)

Key = tuple[str, int]  # an account and a nonce
Told = Iterator[tuple[Caller, Reply]]
IsOrdered = Callable[[int], bool]  # whether the command with this id was ordered
_K = TypeVar("_K", bound=Hashable)


class _Request:
    """The signed orders of one request of a program."""

    def __init__(
        self, number: int, caller: Caller, commands: Sequence[Signed], source: str, now_ms: int
    ) -> None:
        self.number = number
        self.caller = caller
        self.commands = commands
        self.source = source
        self.taken_ms = now_ms
        self.member: int | None = None  # that may have it; None: to be sent
        self.copies = 0  # that may still count
        self.told: list[int] = []  # the ids that the program knows
        self.results: dict[int, tuple[int, int, Result]] = {}  # by place: commit, time, result

    @property
    def keys(self) -> list[Key]:
        return [(each.account, each.nonce) for each in self.commands]


class _Sent(NamedTuple):
    request: _Request
    member: int
    sent_ms: int


class Forwarding:
    """`turn`: any number of this peer, so that followers begin with different members."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._heard: frozenset[int] = frozenset()
        self._home: int | None = None  # the member that is asked now
        self._resting: dict[int, int] = {}  # members that are not asked, until when
        self._requests: dict[int, _Request] = {}  # the oldest first
        self._of_source: Counter[str] = Counter()
        self._by_key: dict[Key, list[_Request]] = {}
        self._by_id: dict[int, list[_Request]] = {}  # those that a member had taken before
        self._unsent: deque[_Request] = deque()
        self._sent: dict[int, _Sent] = {}  # without an answer, by the number of the message
        self._next = 1  # number of a request or a message

    @property
    def outstanding(self) -> int:
        """Requests without a result."""
        return len(self._requests)

    def oldest_ms(self, now_ms: int) -> int:
        """How long the oldest of them has waited."""
        oldest = next(iter(self._requests.values()), None)
        return 0 if oldest is None else now_ms - oldest.taken_ms

    def take(
        self,
        caller: Caller,
        entries: Sequence[Entry],
        source: str,
        now_ms: int,
        is_valid: Callable[[Signed], bool],
    ) -> Refused | None:
        """Forward the orders; or return why not. `is_valid`: whether a signature is good."""
        signed = [entry for entry in entries if isinstance(entry, Signed)]
        if len(signed) < len(entries):
            text = "this peer follows the mesh: it forwards signed orders, and takes no others, as"
            text += " no member could tell who has sent them"
            return Refused("not_member", text)
        if not 1 <= len(signed) <= FORWARDED_MAX:
            text = f"this peer forwards 1 to {FORWARDED_MAX} orders in a request, not {len(signed)}"
            return Refused("invalid", text)
        if len(self._requests) >= WAITING_MAX:
            return Refused("busy", "too many orders wait for a member: try again later")
        if source and self._of_source[source] >= WAITING_SOURCE_MAX:
            text = f"{WAITING_SOURCE_MAX} requests from {source} wait for a member already"
            return Refused("too_many_pending", f"{text}: try again later")
        if not all(map(is_valid, signed)):
            return Refused("bad_signature", "an order is not signed by its account's key")
        request = _Request(self._number(), caller, signed, source, now_ms)
        self._requests[request.number] = request
        self._of_source[source] += 1
        for key in request.keys:
            self._by_key.setdefault(key, []).append(request)
        self._unsent.append(request)
        return None

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        return number

    # To a member

    def wanted(self, heard: Iterable[int], now_ms: int) -> list[ForwardWanted]:
        """What to send now. `heard`: the members that this peer hears."""
        if not self._requests:
            return []
        self._look(frozenset(heard), now_ms)
        messages: list[ForwardWanted] = []
        while self._home is not None and self._unsent and len(self._sent) < UNANSWERED_MAX:
            request = self._unsent.popleft()
            if request.number in self._requests:
                messages.append(self._send(request, self._home, now_ms))
        return messages

    def _send(self, request: _Request, member: int, now_ms: int) -> ForwardWanted:
        number = self._number()
        self._sent[number] = _Sent(request, member, now_ms)
        request.member = member
        request.copies += 1
        return ForwardWanted(member, number, request.commands)

    def _look(self, heard: frozenset[int], now_ms: int) -> None:
        """Choose the member to ask. Orders of a member that is not heard any more are sent again,
        those that it had taken too; of one that only does not answer, those without an answer."""
        late = {sent.member for sent in self._sent.values() if now_ms - sent.sent_ms >= ANSWER_MS}
        for member in late:
            self._rest(member, now_ms)
        if heard != self._heard or late:
            self._heard = heard
            gone = {n: sent for n, sent in self._sent.items() if sent.member not in heard - late}
            for number, sent in gone.items():
                del self._sent[number]
                sent.request.member = None
            waiting = self._requests.values()
            self._unsent = deque(each for each in waiting if each.member not in heard)
        self._resting = {m: until for m, until in self._resting.items() if until > now_ms}
        able = sorted(heard - self._resting.keys())
        if self._home not in able:
            self._home = able[self._turn % len(able)] if able else None

    def _rest(self, member: int, now_ms: int) -> None:
        """Do not ask this member for a while."""
        self._resting[member] = now_ms + REST_MS
        self._turn += 1

    def answered(self, answer: ForwardAnswered, now_ms: int, is_ordered: IsOrdered) -> Told:
        """A member has answered. Yields what to tell programs."""
        sent = self._sent.get(answer.number)
        if sent is None or sent.member != answer.member:
            return
        del self._sent[answer.number]
        request, reply = sent.request, answer.reply
        if request.number not in self._requests:
            return
        if isinstance(reply, Queued):
            yield from self._queued(request, reply, is_ordered)
        elif reply.code in _ELSEWHERE:
            request.copies -= 1
            request.member = None
            self._unsent.appendleft(request)
            self._rest(answer.member, now_ms)
        elif request.copies > 1:
            request.copies -= 1  # another copy may count: the order tells
        else:
            yield from self._end(request, reply)

    def _queued(self, request: _Request, reply: Queued, is_ordered: IsOrdered) -> Told:
        if len(reply.ids) != len(request.commands):
            return
        if not request.told:
            request.told = reply.ids
            yield request.caller, Queued(reply.ids, reply.again)
        for number in reply.again:
            if is_ordered(number):
                yield from self._end(request, _ordered_earlier(number))
                return
            self._by_id.setdefault(number, []).append(request)

    # From the order

    def applied(self, applied: Applied) -> Told:
        """A commit. Yields the results of the orders in it."""
        if not self._requests:
            return
        commands = zip(applied.ids, applied.entries, strict=True)
        results = zip(applied.results, applied.numbers, strict=True)
        for (id_, entry), (events, numbers) in zip(commands, results, strict=True):
            waiting = list(self._by_id.pop(id_, ()))
            if isinstance(entry, Signed):
                waiting += self._by_key.get((entry.account, entry.nonce), ())
            result = Result(id_, events, numbers)
            for request in dict.fromkeys(waiting):
                yield from self._note(request, entry, result, applied)

    def _note(self, request: _Request, entry: object, result: Result, applied: Applied) -> Told:
        if request.copies > 1 and _is_refused(result.events):
            request.copies -= 1
            return
        place, first = self._place(request, entry, result.id), applied.firsts.get(result.id)
        if first not in (None, result.id):
            if place not in request.results:
                yield from self._end(request, _ordered_earlier(first))
            return
        commit = applied.commit
        request.results.setdefault(place, (commit.number, commit.time_ms, result))
        if len(request.results) == len(request.commands):
            yield from self._end(request)

    @staticmethod
    def _place(request: _Request, entry: object, id_: int) -> int:
        if isinstance(entry, Signed) and (key := (entry.account, entry.nonce)) in request.keys:
            return request.keys.index(key)
        return request.told.index(id_)

    def _end(self, request: _Request, refused: Refused | None = None) -> Told:
        """A request has all its results, or gets none."""
        if self._requests.pop(request.number, None) is None:
            return
        self._of_source[request.source] -= 1
        if not self._of_source[request.source]:
            del self._of_source[request.source]
        for key in request.keys:
            _drop(self._by_key, key, request)
        for id_ in request.told:
            _drop(self._by_id, id_, request)
        if refused is not None:
            yield request.caller, refused
            return
        rows = [request.results[place] for place in range(len(request.commands))]
        if request.told != (ids := [result.id for _, _, result in rows]):
            yield request.caller, Queued(ids)  # another copy counted
        for commit, time_ms in sorted({row[:2] for row in rows}):
            results = [result for number, _, result in rows if number == commit]
            yield request.caller, Done(commit, time_ms, results)

    def forget(self, replica: Replica, now_ms: int) -> Told:
        """Give up requests that have waited too long, or whose signatures have ended: no copy of
        those can count any more."""
        for request in list(self._requests.values()):
            if all(each.until_ms <= replica.time_ms for each in request.commands):
                text = "no member has ordered it before its signature ended"
                yield from self._end(request, Refused("signature_expired", text))
            elif now_ms - request.taken_ms >= FORGET_MS:
                text = "no result in time: the order may still take effect until its signature ends"
                yield from self._end(request, Refused("result_lost", text))

    def skip(self, replica: Replica) -> Told:
        """The state has changed without commits: what was ordered meanwhile has lost its result."""
        for request in list(self._requests.values()):
            seats = [replica.signers.seats.get(each.account) for each in request.commands]
            pairs = zip(request.commands, seats, strict=True)
            if any(seat is not None and each.nonce <= seat.nonce for each, seat in pairs):
                text = "the order was ordered while this peer was away: query its state"
                yield from self._end(request, Refused("result_lost", text))

    def stop(self) -> Told:
        """This peer stops: nobody waits here any more."""
        for request in list(self._requests.values()):
            text = "this peer is stopping: a member may order it until its signature ends"
            yield from self._end(request, Refused("result_lost", text))


def _ordered_earlier(id_: int) -> Refused:
    """The order was sent before, under the same client id."""
    text = f"{format_id(id_)} was ordered earlier: query the state of the order"
    return Refused("result_lost", text)


def _is_refused(events: Iterable[Event]) -> bool:
    return any(isinstance(event, Rejected) and event.reason in _NOT_USED for event in events)


def _drop(waiting: dict[_K, list[_Request]], key: _K, request: _Request) -> None:
    """A request waits for this no more."""
    left = [each for each in waiting.get(key, ()) if each is not request]
    if left:
        waiting[key] = left
    else:
        waiting.pop(key, None)
