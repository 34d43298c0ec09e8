"""Where one other member may be: which of its addresses to try and which to remember.

Owns the choice. Must never open a socket or read a clock: time (monotonic milliseconds) and
randomness are arguments, and a `Turn` says what to connect and close.

Anyone can announce anything under a member's name, at any rate. So an announcement only decides
when an address is tried; the program that answers there proves itself by its key.

- A lookup can only add addresses. A missing address means nothing; but a failed unproven address is
  dropped once FORGET_AFTER lookups have lacked it.
- An address is *known* if the operator gave it, the member itself told it over a connection that
  proves its key, or it was *proven*: the member was heard there. All others are *unproven*.
- A connection over which the member is heard is never closed, unless it is heard over more than
  HEARD_MAX. Given addresses are tried for as long as it is heard at none of them, so that no
  other address can keep a peer.
- While the member is silent, known addresses are tried in turn, and after a HEAD_START_MS unproven
  ones as well: UNPROVEN_AT_ONCE at a time, each for UNPROVEN_TRY_MS even if the connection fails at
  once. So whatever is announced, a peer makes no more than four connections a second for it.
- Unproven addresses take turns by host, since a flooder has few hosts; within a host it is
  first come, first tried. A waiting address is not dropped for later ones, unless its host has
  more of them than others. Those that were in vain have every RETRY_EVERYth turn.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from discovery.grape import Address

ALIVE_MS = 1_500  # a member heard within this time is alive
KNOWN_AT_ONCE = 4
KNOWN_TRY_MS = 5_000  # libzmq never retries an address after a wrong protocol: connect again
UNPROVEN_AT_ONCE = 8
UNPROVEN_TRY_MS = 2_000  # five round trips, and a heartbeat
HEAD_START_MS = 2_000
RETRY_EVERY = 4
HEARD_MAX = 2
OPEN_MAX = KNOWN_AT_ONCE + UNPROVEN_AT_ONCE + HEARD_MAX
LOOK_MS = 100  # between two calls of `turn`

GIVEN_MAX = 8
PROVEN_MAX = 16
UNPROVEN_MAX = 256  # that wait for a first turn; the same limit for those that wait for another
FOUND_MAX = 200  # per lookup
FORGET_AFTER = 100  # lookups, several minutes of them
LAST_TURNS_MAX = 4 * (GIVEN_MAX + PROVEN_MAX)

HOST_CHARACTERS_MAX = 253
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def read_address(text: str) -> Address:
    """HOST:PORT, as people and files write it. ValueError says what was expected."""
    host, _, port = text.rpartition(":")
    if not (_HOST.fullmatch(host) and len(host) <= HOST_CHARACTERS_MAX):
        raise ValueError(f"expected HOST:PORT with a name or IPv4 address, got {text!r:.100}")
    if not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise ValueError(f"expected HOST:PORT with a port from 1 to 65535, got {text!r:.100}")
    return Address(host, int(port))


class Try(NamedTuple):
    """Connect to this address. `lasting`: reconnect for as long as it is open, since the member was
    there or should be; otherwise try once."""

    address: Address
    lasting: bool


class Turn(NamedTuple):
    """What to do now, in the order of the fields."""

    close: Sequence[Address] = ()
    connect: Sequence[Try] = ()


class _Line:
    """Waiting unproven addresses, up to a limit. Hosts take turns; a host's addresses keep their
    order of arrival. This is fair queueing by start times (Goyal, Vin, Cheng 1996): a host that
    comes back has no claim to earlier turns."""

    def __init__(self) -> None:
        self._turns: dict[Address, int] = {}
        self._hosts: Counter[str] = Counter()
        self._last: dict[str, int] = {}  # turn of a waiting host
        self._now = 0

    def __len__(self) -> int:
        return len(self._turns)

    def __contains__(self, address: Address) -> bool:
        return address in self._turns

    def __iter__(self) -> Iterator[Address]:
        return iter(self._turns)

    def put(self, address: Address) -> None:
        if len(self._turns) >= UNPROVEN_MAX and not self._makes_room(address.host):
            return
        turn = max(self._now, self._last.get(address.host, 0)) + 1
        self._turns[address] = self._last[address.host] = turn
        self._hosts[address.host] += 1

    def _makes_room(self, host: str) -> bool:
        """Drop the last address of the host with most, unless `host` would have as many."""
        [(largest, count)] = self._hosts.most_common(1)
        if self._hosts[host] + 1 >= count:
            return False
        self.drop(next(address for address in reversed(self._turns) if address.host == largest))
        return True

    def pop(self) -> Address:
        address = min(self._turns, key=self._turns.__getitem__)
        self._now = self._turns[address]
        self.drop(address)
        return address

    def drop(self, address: Address) -> None:
        """Harmless if the address does not wait."""
        if self._turns.pop(address, None) is None:
            return
        self._hosts[address.host] -= 1
        if not self._hosts[address.host]:
            del self._hosts[address.host], self._last[address.host]

    def check(self) -> None:
        assert len(self._turns) <= UNPROVEN_MAX
        assert self._hosts == Counter(address.host for address in self._turns)
        assert self._last.keys() == self._hosts.keys()
        assert all(turn >= self._now for turn in self._turns.values())


class _Open:
    """A connection, or an attempt to connect."""

    def __init__(self, lasting: bool, until_ms: int) -> None:
        self.lasting = lasting
        self.until_ms = until_ms
        self.heard_ms = -1

    def wait(self, ms: int) -> None:
        """This much time has passed and does not count."""
        self.until_ms += ms
        if self.heard_ms >= 0:
            self.heard_ms += ms

    def is_heard(self, now_ms: int) -> bool:
        return self.heard_ms >= 0 and now_ms - self.heard_ms < ALIVE_MS


class AddressBook:
    """The addresses of one member. Starts empty; `give` and `remember` before the first `turn`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given: dict[Address, None] = {}
        self._told: Address | None = None
        self._proven: dict[Address, None] = {}  # the last one is where it was heard last
        self._new = _Line()
        self._tried = _Line()  # without success
        self._unproven = 0  # that were tried
        self._lookups = 0
        self._seen: dict[Address, int] = {}  # the last lookup that had this unproven address
        self._open: dict[Address, _Open] = {}
        self._turns = 0
        self._last_turn: dict[Address, int] = {}  # of a known address
        self._silent_since_ms: int | None = None
        self._due_ms = 0
        self._looked_ms: int | None = None
        self.home: Address | None = None  # where it is heard: the one to ask it for anything

    def give(self, address: Address) -> None:
        """An operator gives this address. ValueError after GIVEN_MAX of them."""
        if address not in self._given and len(self._given) >= GIVEN_MAX:
            raise ValueError(f"expected at most {GIVEN_MAX} addresses of a member")
        self._given[address] = None

    def remember(self, addresses: Iterable[Address]) -> None:
        """Add what `remembered` returned before the restart."""
        for address in list(addresses)[:PROVEN_MAX][::-1]:
            self._proven.pop(address, None)
            self._proven[address] = None

    @property
    def remembered(self) -> list[Address]:
        """The addresses to keep for the next start, best first: heard ones, then given ones."""
        return list(dict.fromkeys([*reversed(self._proven), *self._given]))[:PROVEN_MAX]

    @property
    def known(self) -> list[Address]:
        """Where the member was or should be: given, told, heard lately, heard long ago."""
        told = [] if self._told is None else [self._told]
        return list(dict.fromkeys([*self._given, *told, *reversed(self._proven)]))

    @property
    def has_untried(self) -> bool:
        """Whether an unproven address waits for its first turn."""
        return len(self._new) > 0

    def tell(self, address: Address) -> None:
        """The member itself tells its address. Only its last one counts."""
        if address in self._given or address in self._proven or address == self._told:
            return
        self._told = address
        self._new.drop(address)
        self._tried.drop(address)
        self._due_ms = 0

    def find(self, addresses: Sequence[Address]) -> None:
        """A lookup returned these."""
        known = set(self.known)
        self._lookups += 1
        unproven = [address for address in dict.fromkeys(addresses) if address not in known]
        fresh = [address for address in unproven if not self._holds(address)]
        for address in self._rng.sample(fresh, min(len(fresh), FOUND_MAX)):
            self._new.put(address)
        self._seen |= dict.fromkeys(unproven, self._lookups)
        self._seen = {a: lookup for a, lookup in self._seen.items() if self._holds(a)}
        self._due_ms = 0

    def _holds(self, address: Address) -> bool:
        return address in self._open or address in self._new or address in self._tried

    def hear(self, address: Address, now_ms: int) -> None:
        """The member was heard at this address: its key proves it."""
        one = self._open.get(address)
        if one is None:
            return
        if one.heard_ms < 0:
            self._prove(address)
        one.heard_ms = now_ms
        one.until_ms = now_ms + (KNOWN_TRY_MS if one.lasting else ALIVE_MS)
        home = None if self.home is None else self._open.get(self.home)
        better = address in self._given and self.home not in self._given
        if home is None or not home.is_heard(now_ms) or better:
            self.home = address

    def _prove(self, address: Address) -> None:
        self._proven.pop(address, None)
        self._proven[address] = None
        if len(self._proven) > PROVEN_MAX:
            del self._proven[next(iter(self._proven))]
        if self._told == address:
            self._told = None

    def turn(self, now_ms: int) -> Turn:
        """What to do now. Call it at least every LOOK_MS: a longer pause of this peer does not
        count as silence of the member."""
        stood_still_ms = now_ms - LOOK_MS - (now_ms if self._looked_ms is None else self._looked_ms)
        self._looked_ms = now_ms
        if stood_still_ms > 0:
            for one in self._open.values():
                one.wait(stood_still_ms)
        if now_ms < self._due_ms:
            return Turn()
        self._due_ms = now_ms + LOOK_MS
        closing = self._ended(now_ms)
        for address in closing:
            self._close(address)
        return Turn(closing, self._started(now_ms))

    def close_all(self) -> None:
        """All connections are closed, even those where the member is heard."""
        for address in list(self._open):
            self._close(address)
        self._silent_since_ms = None
        self._due_ms = 0

    def _close(self, address: Address) -> None:
        del self._open[address]
        if self.home == address:
            self.home = None
        age = self._lookups - self._seen.get(address, self._lookups)
        if address not in self.known and age < FORGET_AFTER:
            self._tried.put(address)

    def _heard(self, now_ms: int) -> list[Address]:
        return [address for address, one in self._open.items() if one.is_heard(now_ms)]

    def _ended(self, now_ms: int) -> list[Address]:
        """Connections not needed: beyond the limit, or without a message so far."""
        heard = self._heard(now_ms)
        heard.sort(key=lambda address: address not in self._given)  # then oldest first
        in_vain = [
            address
            for address, one in self._open.items()
            if now_ms >= one.until_ms and not one.is_heard(now_ms)
        ]
        return heard[HEARD_MAX:] + in_vain

    def _started(self, now_ms: int) -> list[Try]:
        heard = self._heard(now_ms)
        if heard:
            self._silent_since_ms = None
        elif self._silent_since_ms is None:
            self._silent_since_ms = now_ms
        if heard and (not self._given or any(address in self._given for address in heard)):
            return []
        known = list(self._given) if heard else self.known
        started = self._start_known(known, now_ms)
        if self._silent_since_ms is not None:
            headed_ms = now_ms - self._silent_since_ms
            if not known or headed_ms >= HEAD_START_MS:
                started += self._start_unproven(now_ms)
        return started

    def _free(self, most: int, lasting: bool, now_ms: int) -> int:
        """How many more addresses may be tried."""
        tried = [one for one in self._open.values() if not one.is_heard(now_ms)]
        return max(most - sum(one.lasting == lasting for one in tried), 0)

    def _start_known(self, known: Sequence[Address], now_ms: int) -> list[Try]:
        """Start those not tried for the longest time."""
        waiting = [address for address in known if address not in self._open]
        waiting.sort(key=lambda address: self._last_turn.get(address, 0))
        chosen = waiting[: self._free(KNOWN_AT_ONCE, True, now_ms)]
        for address in chosen:
            self._turns += 1
            self._last_turn[address] = self._turns
            self._open[address] = _Open(True, now_ms + KNOWN_TRY_MS)
        if len(self._last_turn) > LAST_TURNS_MAX:
            all_known = self.known
            self._last_turn = {a: turn for a, turn in self._last_turn.items() if a in all_known}
        return [Try(address, True) for address in chosen]

    def _start_unproven(self, now_ms: int) -> list[Try]:
        chosen: list[Try] = []
        for _ in range(self._free(UNPROVEN_AT_ONCE, False, now_ms)):
            if (address := self._next_unproven()) is None:
                break
            self._open[address] = _Open(False, now_ms + UNPROVEN_TRY_MS)
            chosen.append(Try(address, False))
        return chosen

    def _next_unproven(self) -> Address | None:
        self._unproven += 1
        if len(self._tried) and (self._unproven % RETRY_EVERY == 0 or not len(self._new)):
            return self._tried.pop()
        return self._new.pop() if len(self._new) else None

    def check(self) -> None:
        """Assert the invariants that hold after every call."""
        known, unproven = set(self.known), [*self._new, *self._tried]
        assert len(self._given) <= GIVEN_MAX
        assert len(self._proven) <= PROVEN_MAX
        assert len(self._last_turn) <= LAST_TURNS_MAX
        self._new.check()
        self._tried.check()
        assert len(self._open) <= OPEN_MAX
        assert len(self._seen) <= 2 * UNPROVEN_MAX + OPEN_MAX
        assert len(set(unproven)) == len(unproven)
        assert known.isdisjoint(unproven)
        assert self._open.keys().isdisjoint(unproven)
        assert self.home is None or self._open[self.home].heard_ms >= 0
