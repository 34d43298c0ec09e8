"""Which signed commands are good: the part of the replicated state that knows their signers.

Owns the nonces in use and, for each account, the member that took its first command. The result
follows from the one order of commands and its clock alone, so it is the same on every peer. Must
never know a market or read a clock.

Anyone can make any number of keys. So the number of new keys has a limit, and each member has its
share of it. A full share at one member blocks no key at the other members.
"""

from collections import Counter
from collections.abc import Mapping
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

from engine import Reason
from peer.consensus.block import digest_of
from peer.replica.signature_cache import SignatureCache
from peer.replica.signed import Entry, Signed, needs_signature

VALID_MS_MAX = 24 * 3600 * 1000  # from a nonce, and from the clock, to a signature's end
KEY_ACCOUNTS_MAX = 10_000  # that used a nonce in the last day or two, all members together


def is_in_time(nonce: int, until_ms: int, now_ms: int) -> bool:
    """Whether a signature is valid now: its nonce, as a time, and the clock are both before its
    end, by at most a day."""
    return max(nonce, now_ms) < until_ms <= min(nonce, now_ms) + VALID_MS_MAX


class Seat(NamedTuple):
    """A key account's last nonce, and the member that took its first command."""

    nonce: int
    member: int


class SeatRow(NamedTuple):
    """A key account and its seat in the encoded state."""

    account: str
    nonce: int
    member: int


def bucket_of(account: str) -> int:
    """The bucket of an account's seat: 56 bits of a hash. Nearly every account has a bucket of its
    own, even if somebody chooses keys that share a bucket: with fewer buckets that would make a
    piece of the state too large to be sent."""
    return int.from_bytes(digest_of(account.encode())[:7], "big")


class Signers:
    """Part of the replicated state: the key accounts in use, in buckets. A change costs the size of
    its bucket.

    It must keep a nonce until all signatures with a lower one have ended. These end within a day of
    their nonce, so a day after the account's last nonce is enough.
    """

    def __init__(self, mesh: bytes, members: int, seats: Mapping[str, Seat] | None = None) -> None:
        self.seats: dict[str, Seat] = {}
        self.signature_cache = SignatureCache(mesh)
        self.share_among(members)
        self._brought: Counter[int] = Counter()  # seats, by member
        self._buckets: dict[int, set[str]] = {}
        self._changed: set[int] = set()  # buckets
        self._ends: list[tuple[int, str]] = []  # a heap: every account with a nonce it used
        for account, seat in (seats or {}).items():
            self._seat(account, seat)

    def share_among(self, members: int) -> None:
        """There are so many members now."""
        self._share = max(KEY_ACCOUNTS_MAX // members, 1)

    def _seat(self, account: str, seat: Seat) -> None:
        bucket = bucket_of(account)
        self._changed.add(bucket)
        if account not in self.seats:
            self._brought[seat.member] += 1
            self._buckets.setdefault(bucket, set()).add(account)
            heappush(self._ends, (seat.nonce, account))
        self.seats[account] = seat

    def admit(self, entry: Entry, now_ms: int, member: int) -> Reason | None:
        """Why peers refuse the next command in the order; None if it is good. A good command uses
        its nonce, whatever the market then answers. `now_ms` is the ordered clock."""
        reason = self.refusal(entry, now_ms, member)
        if reason is None and type(entry) is Signed:
            seat = self.seats.get(entry.account)
            self._seat(entry.account, Seat(entry.nonce, seat.member if seat else member))
        return reason

    def refusal(self, entry: Entry, now_ms: int, member: int) -> Reason | None:
        """Why peers would refuse an entry from a member now: the first reason in their order."""
        if type(entry) is not Signed:
            return Reason.NOT_SIGNED if needs_signature(entry) else None
        if not is_in_time(entry.nonce, entry.until_ms, now_ms):
            return Reason.SIGNATURE_EXPIRED
        seat = self.seats.get(entry.account)
        if seat is not None and entry.nonce <= seat.nonce:
            return Reason.NONCE_USED
        if seat is None and self._brought[member] >= self._share:
            return Reason.TOO_MANY_KEYS
        return None if self.signature_cache.is_valid(entry) else Reason.BAD_SIGNATURE

    def is_signed(self, entry: Entry) -> bool:
        """Whether the account's key has signed an entry, for whatever time."""
        return type(entry) is Signed and self.signature_cache.is_valid(entry)

    def forget(self, now_ms: int) -> None:
        """Drop the nonces that no signature can need any more. Costs the nonces dropped, and those
        used since."""
        ends = self._ends
        while ends and ends[0][0] + VALID_MS_MAX <= now_ms:
            nonce, account = ends[0]
            seat = self.seats[account]
            if seat.nonce > nonce:
                heapreplace(ends, (seat.nonce, account))
            else:
                heappop(ends)
                self._leave(account, seat)

    def _leave(self, account: str, seat: Seat) -> None:
        bucket = bucket_of(account)
        self._changed.add(bucket)
        self._brought[seat.member] -= 1
        self._buckets[bucket].remove(account)
        if not self._buckets[bucket]:
            del self._buckets[bucket]
        del self.seats[account]

    def changed_buckets(self) -> list[tuple[int, list[SeatRow]]]:
        """The buckets with a changed seat since the last call, with all their seats."""
        changed, self._changed = sorted(self._changed), set()
        return [(bucket, self._rows(bucket)) for bucket in changed]

    def _rows(self, bucket: int) -> list[SeatRow]:
        return [SeatRow(name, *self.seats[name]) for name in sorted(self._buckets.get(bucket, ()))]

    def check(self) -> None:
        brought = Counter(seat.member for seat in self.seats.values())
        assert +self._brought == brought
        assert sorted(name for _, name in self._ends) == sorted(self.seats)
        assert all(nonce <= self.seats[name].nonce for nonce, name in self._ends)
        placed = {name: bucket for bucket, names in self._buckets.items() for name in names}
        assert placed == {name: bucket_of(name) for name in self.seats}
        assert all(self._buckets.values())
