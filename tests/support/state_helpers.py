"""A peer that catches up, and members that help it well or badly, with a clock of their own."""

import itertools
import random
from collections.abc import Callable

from peer.storage.part_requests import (
    ANSWER_BYTES,
    PartsWanted,
)
from peer.storage.state_sync import CatchUp, Fetched, Manifest
from peer.storage.tree_walk import ROOT
from tests.support.states import Pieces, changed, part_at, some_state, tree_of


class Helper:
    """One that has some states, and says what it has as an honest one does."""

    def __init__(self, *states: tuple[int, Pieces]) -> None:
        self.states = {commit: (tree_of(pieces), pieces) for commit, pieces in states}
        self.asked: list[PartsWanted] = []

    def answer(self, wanted: PartsWanted) -> list[bytes] | None:
        """The parts; None: no answer."""
        self.asked.append(wanted)
        return self.parts(wanted)

    def parts(self, wanted: PartsWanted) -> list[bytes]:
        if wanted.commit not in self.states:
            return []
        tree, pieces = self.states[wanted.commit]
        found, size = [], 0
        for place in wanted.places:
            part = part_at(tree, pieces, place)
            if part is None or (found and size + len(part) > ANSWER_BYTES):
                break
            found.append(part)
            size += len(part)
        return found


class Silent(Helper):
    def answer(self, wanted: PartsWanted) -> list[bytes] | None:
        self.asked.append(wanted)
        return None


class Empty(Helper):
    def parts(self, wanted: PartsWanted) -> list[bytes]:
        return []


class Liar(Helper):
    """Answers with a true state in which one piece is another."""

    def parts(self, wanted: PartsWanted) -> list[bytes]:
        parts = super().parts(wanted)
        return [part[:-1] + bytes([part[-1] ^ 1]) for part in parts]


class OtherShape(Helper):
    """Answers with a tree that is true, of another state."""

    def __init__(self, *states: tuple[int, Pieces]) -> None:
        super().__init__(*((commit, {9: b"one piece"}) for commit, _ in states))

    def parts(self, wanted: PartsWanted) -> list[bytes]:
        tree, pieces = next(iter(self.states.values()))
        part = part_at(tree, pieces, ROOT)
        assert part is not None
        return [part]


class Replaying(Helper):
    """Answers all with what it answered first."""

    first: list[bytes] | None = None

    def parts(self, wanted: PartsWanted) -> list[bytes]:
        self.first = self.first or super().parts(wanted)
        return self.first


class Dripping(Helper):
    """A part at a time."""

    def parts(self, wanted: PartsWanted) -> list[bytes]:
        return super().parts(wanted)[:1]


MANIFEST_COMMIT = 64


class Fetching:
    """A peer that catches up, and time. An answer takes `delay_ms` by its helper."""

    def __init__(self, own: Pieces, helpers: dict[int, Helper]) -> None:
        self.own = own
        self.helpers = helpers
        self.delays = dict.fromkeys(helpers, 1)
        self.catch_up = CatchUp(itertools.count(1))
        self.now_ms = 0
        self.liars: set[int] = set()
        self.requests = 0
        self._under_way: list[tuple[int, int, PartsWanted, list[bytes]]] = []

    def offer(self, member: int, commit: int, pieces: Pieces) -> bool:
        manifest = Manifest(commit, tree_of(pieces).digest)
        news = self.catch_up.is_news(member, manifest, self.now_ms)
        if news:
            own = tree_of(self.own)
            self.catch_up.begin(member, manifest, [b"frame"], own, self.now_ms)
        return news

    def ask(self) -> list[PartsWanted]:
        wanted = self.catch_up.requests(list(self.helpers), 0, self.now_ms)
        for each in wanted:
            self.requests += 1
            parts = self.helpers[each.member].answer(each)
            if parts is not None:
                at_ms = self.now_ms + self.delays[each.member]
                self._under_way.append((at_ms, self.requests, each, parts))
        return wanted

    def turn(self) -> None:
        """A millisecond."""
        self.ask()
        self.now_ms += 1
        self._under_way.sort(key=lambda one: one[:2])
        while self._under_way and self._under_way[0][0] <= self.now_ms:
            _, _, wanted, parts = self._under_way.pop(0)
            member, number, commit, _ = wanted
            if not self.catch_up.take(member, number, commit, parts, self.now_ms):
                self.liars.add(member)

    def run(self, ms: int) -> Fetched:
        """Until all is here, for so long at most."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.turn()
            if self.catch_up.is_complete:
                fetched = self.catch_up.complete(tree_of(self.own))
                if fetched is not None:
                    return fetched
        raise AssertionError(self.catch_up.progress)


OWN = some_state(random.Random(1), 2_000)


STATE = some_state(random.Random(2), 3_000) | dict(list(OWN.items())[:1_000])


def fetching(*helpers: Callable[..., Helper]) -> Fetching:
    members = {n: helper((MANIFEST_COMMIT, STATE)) for n, helper in enumerate(helpers)}
    peer = Fetching(OWN, members)
    assert peer.offer(0, MANIFEST_COMMIT, STATE)
    return peer


def check(peer: Fetching, fetched: Fetched, state: Pieces = STATE) -> None:
    assert changed(peer.own, fetched.pieces) == state
    assert fetched.manifest.digest == tree_of(state).digest
    assert fetched.certificate == [b"frame"]
