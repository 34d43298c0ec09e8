"""Which order each client id stands for: the part of the replicated state that knows names.

Owns the names that are remembered and the order that each stands for. The result follows from the
one order of commands alone, so it is the same on every peer. Must never know a market, a signature
or which member took an order.

ORDER-59. An account's order whose client id is remembered is not executed: the first one counts. So
a client without an answer may send its order again, to any member. Names are forgotten in the order
in which they came. A name costs the same however many there are.
"""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, TypeGuard

import msgspec
from msgspec import Meta

from engine import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    Command,
    Event,
    Reason,
    Rejected,
    Submit,
)

NAMES_MAX = 100_000  # of all accounts; a new one takes the place of the oldest
NAMES_ACCOUNT_MAX = 10_000  # of one account, likewise; so no account alone takes all places
NAMES_PER_CHUNK = 64  # at most 36 KB as a piece of the state
DIGEST_BYTES = 16  # it protects the submitter from mistakes

_encode = msgspec.msgpack.Encoder().encode


class Name(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """An account's name for an order, as in the encoded state."""

    number: Annotated[int, Meta(ge=0)]  # of the names that there ever were
    account: Annotated[str, Meta(min_length=1, max_length=ACCOUNT_LENGTH_MAX)]
    client_id: Annotated[str, Meta(min_length=1, max_length=CLIENT_ID_LENGTH_MAX)]
    order: Annotated[int, Meta(ge=1, le=ID_MAX)]
    digest: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


def has_name(command: object) -> TypeGuard[Submit]:
    """Whether a command is an order with a client id. An account or client id that the market
    rejects is none."""
    return (
        type(command) is Submit
        and 0 < len(command.client_id) <= CLIENT_ID_LENGTH_MAX
        and 0 < len(command.account) <= ACCOUNT_LENGTH_MAX
    )


def digest_of(order: Submit) -> bytes:
    """The same for an order that is sent again, whatever its id."""
    return sha256(_encode(msgspec.structs.astuple(order)[1:])).digest()[:DIGEST_BYTES]


class ClientIds:
    """Part of the replicated state: the last names, in chunks by their numbers. A change costs the
    size of its chunk. ValueError for names that no replica can have."""

    def __init__(
        self,
        names: Iterable[Name] = (),
        most: int = NAMES_MAX,
        account_most: int = NAMES_ACCOUNT_MAX,
    ) -> None:
        self.firsts: dict[int, int] = {}  # of this commit's named orders: which one counts
        self._most, self._account_most = most, account_most
        self._names: dict[str, OrderedDict[str, Name]] = {}  # by account, the oldest first
        self._chunks: dict[int, dict[int, Name]] = {}  # by number, the oldest first
        self._changed: set[int] = set()  # chunks
        self._count = 0
        self._next = 0
        for name in sorted(names, key=lambda name: name.number):
            if name.number < self._next or self.find(name) is not None:
                raise ValueError(f"expected each name once, got number {name.number} again")
            self._next = name.number
            self._add(name)
        if self._count > most or any(len(own) > account_most for own in self._names.values()):
            raise ValueError(
                f"expected at most {most} names and {account_most} of an account, got more"
            )

    def __len__(self) -> int:
        return self._count

    def find(self, order: Submit | Name) -> Name | None:
        """The first order of this name; None if none is remembered."""
        own = self._names.get(order.account)
        return None if own is None else own.get(order.client_id)

    def begin_commit(self) -> None:
        self.firsts = {}

    def admit_all(self, commands: Iterable[Command]) -> dict[int, list[Event]]:
        """The orders among the next commands that are not to be executed, by id: their events."""
        refused: dict[int, list[Event]] = {}
        for command in commands:
            # Most orders have no name, and this loop is all that they pay for those that do.
            if type(command) is Submit and command.client_id and has_name(command):
                reason = self.admit(command)
                if reason is not None:
                    refused[command.id] = [Rejected(command.id, command.account, reason)]
        return refused

    def admit(self, order: Submit) -> Reason | None:
        """Why not to execute the next named order; None if it is the first of its name, which is
        remembered from now on, whatever the market then answers."""
        digest, first = digest_of(order), self.find(order)
        if first is None:
            self._make_room(order.account)
            self._add(Name(self._next, order.account, order.client_id, order.id, digest))
            self.firsts[order.id] = order.id
            return None
        if first.digest != digest:
            return Reason.OTHER_ORDER
        self.firsts[order.id] = first.order
        return Reason.SENT_BEFORE

    def _make_room(self, account: str) -> None:
        """Forget the account's oldest name if it has all it may; else the oldest if all are."""
        own = self._names.get(account)
        if own is not None and len(own) >= self._account_most:
            self._forget(next(iter(own.values())))
        elif self._count >= self._most:
            chunk = next(iter(self._chunks.values()))
            self._forget(next(iter(chunk.values())))

    def _add(self, name: Name) -> None:
        if name.account not in self._names:
            self._names[name.account] = OrderedDict()
        self._names[name.account][name.client_id] = name
        number = name.number // NAMES_PER_CHUNK
        self._chunks.setdefault(number, {})[name.number] = name
        self._changed.add(number)
        self._count += 1
        self._next += 1

    def _forget(self, name: Name) -> None:
        own, number = self._names[name.account], name.number // NAMES_PER_CHUNK
        del own[name.client_id]
        if not own:
            del self._names[name.account]
        del self._chunks[number][name.number]
        if not self._chunks[number]:
            del self._chunks[number]
        self._changed.add(number)
        self._count -= 1

    def changed_chunks(self) -> list[tuple[int, list[Name]]]:
        """The chunks with a changed name since the last call, with all their names."""
        changed, self._changed = sorted(self._changed), set()
        return [(number, list(self._chunks.get(number, {}).values())) for number in changed]

    def check(self) -> None:
        listed = [name for chunk in self._chunks.values() for name in chunk.values()]
        numbers = [name.number for name in listed]
        assert numbers == sorted(set(numbers))
        assert len(listed) == self._count == sum(map(len, self._names.values()))
        assert self._count <= self._most
        assert not listed or self._next == numbers[-1] + 1
        for account, own in self._names.items():
            assert 0 < len(own) <= self._account_most
            assert list(own.values()) == [name for name in listed if name.account == account]
            assert all(name.client_id == client_id for client_id, name in own.items())
