"""Fetching what differs of a state, from helpers that help in all ways and in none. No sockets."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import HashTree, Leaf, leaf_digest, leaf_part, part_digest, read_part
from engine.hash_tree import node_part
from peer.storage import state_sync
from peer.storage.part_requests import (
    ABSENT_MS,
    ANSWER_BYTES,
    EXCLUDED_MS,
    FAST_MS,
    PLACES_FIRST,
    PLACES_MAX,
    REQUESTS_MAX,
    SILENT_MS,
    TIMEOUT_MS,
    PartsWanted,
)
from peer.storage.state_sync import STALLED_MS, CatchUp, Fetched, Manifest
from peer.storage.tree_walk import ROOT, Place, TreeWalk

Pieces = dict[int, bytes]

STATES = st.dictionaries(
    st.one_of(st.integers(0, 300), st.integers(0, 7).map(lambda kind: (kind << 60) + kind)),
    st.binary(min_size=1, max_size=3),
    max_size=60,
)


def tree_of(pieces: Pieces) -> HashTree:
    return HashTree().updated(Leaf(key, leaf_digest(key, data)) for key, data in pieces.items())


def part_at(tree: HashTree, pieces: Pieces, place: Place) -> bytes | None:
    root = tree.at(*place).root
    if isinstance(root, Leaf):
        return leaf_part(root.key, pieces[root.key])
    return None if root is None else root.part


def changed(pieces: Pieces, changes: Pieces) -> Pieces:
    return {key: data for key, data in (pieces | changes).items() if data}


def some_state(rng: random.Random, size: int) -> Pieces:
    """Like that of a book: many pieces under keys close together, and a few of other kinds."""
    pieces = {rng.randrange(2 * size): rng.randbytes(40) for _ in range(size)}
    return pieces | {kind << 60: rng.randbytes(20) for kind in (1, 2, 3)}


# The walk


@settings(deadline=None)
@given(STATES, STATES, st.randoms(use_true_random=False))
def test_a_walk_finds_the_differences_between_two_states(
    own: Pieces, other: Pieces, rng: random.Random
) -> None:
    """ORDER-31."""
    tree = tree_of(other)
    walk = TreeWalk(tree.digest, tree_of(own))
    asked = set()
    while walk.missing:
        digest = rng.choice(sorted(walk.missing))
        place = walk.place(digest)
        assert place not in asked
        asked.add(place)
        if not other:  # a tree of nothing has no parts
            return
        part = part_at(tree, other, place)
        assert part is not None
        assert walk.take(b"node" + part) is None
        assert walk.take(part) is not None
        assert walk.take(part) is None
    changes = walk.changes
    assert changed(own, changes) == other
    assert {key for key, data in changes.items() if data} == {
        key for key, data in other.items() if own.get(key) != data
    }
    assert {key for key, data in changes.items() if not data} == own.keys() - other.keys()


def test_a_walk_requests_only_the_differences_and_the_path_to_them() -> None:
    own = some_state(random.Random(1), 4_000)
    other = own | {100: b"other"}
    tree = tree_of(other)
    walk = TreeWalk(tree.digest, tree_of(own))
    count = 0
    while walk.missing:
        part = part_at(tree, other, walk.place(next(iter(walk.missing))))
        assert part is not None
        walk.take(part)
        count += 1
    assert walk.changes == {100: b"other"}
    assert count < 8
    assert (walk.come, walk.found) == (count, count)


@settings(deadline=None)
@given(STATES, STATES, STATES)
def test_a_received_part_is_not_missing_in_another_tree(
    own: Pieces, first: Pieces, second: Pieces
) -> None:
    first, second = first | {1: b"x"}, second | {1: b"y"}
    walk = TreeWalk(tree_of(first).digest, tree_of(own))
    fetch(walk, first)
    seen = fetch(walk, second)
    assert seen.isdisjoint(all_parts(first))
    assert changed(own, walk.changes) == second


def fetch(walk: TreeWalk, pieces: Pieces) -> set[bytes]:
    """Begin with the tree of these pieces, and give all its parts that are missing."""
    tree, seen = tree_of(pieces), set()
    walk.begin(tree.digest, walk.own)
    while walk.missing:
        part = part_at(tree, pieces, walk.place(next(iter(walk.missing))))
        assert part is not None
        walk.take(part)
        seen.add(part)
    return seen


def all_parts(pieces: Pieces) -> set[bytes]:
    walk = TreeWalk(tree_of(pieces).digest, HashTree())
    return fetch(walk, pieces)


@pytest.mark.parametrize(
    ("forged", "lie"),
    [
        # The digests are as they should be, and the parts say what is impossible.
        (leaf_part(2**60, b"a"), "a leaf elsewhere"),
        (b"node" + bytes(40), "no node"),
        (b"", "nothing"),
    ],
)
def test_a_forged_part_is_never_accepted(forged: bytes, lie: str) -> None:
    """Whoever made up a digest can have a part for it."""
    root = node_part(60, 0, {0: part_digest(forged), 1: b"b" * 32})
    walk = TreeWalk(part_digest(root), HashTree())
    assert walk.take(root) is not None
    assert part_digest(forged) in walk.missing
    assert walk.take(forged) is None, lie
    assert part_digest(forged) in walk.missing


def test_a_node_below_itself_is_refused() -> None:
    high = node_part(60, 0, {0: b"a" * 32, 1: b"b" * 32})
    root = node_part(60, 0, {0: part_digest(high), 1: b"b" * 32})
    walk = TreeWalk(part_digest(root), HashTree())
    assert walk.take(root) is not None
    assert walk.take(high) is None


# Helpers


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


def test_honest_helpers_share_the_work() -> None:
    peer = fetching(Helper, Helper, Helper)
    check(peer, peer.run(100))
    counts = [sum(len(one.places) for one in helper.asked) for helper in peer.helpers.values()]
    assert min(counts) > sum(counts) / 6
    assert sum(counts) == peer.catch_up._target.walk.come, "nothing is asked for twice"  # type: ignore[union-attr]
    assert all(len(one.places) <= PLACES_MAX for h in peer.helpers.values() for one in h.asked)


@pytest.mark.parametrize("bad", [Silent, Empty, Liar, OtherShape, Replaying, Dripping])
def test_a_bad_helper_causes_little_delay(bad: type[Helper]) -> None:
    """ORDER-31, ORDER-38."""
    peer = fetching(bad, Helper, Helper)
    check(peer, peer.run(2 * FAST_MS))
    assert peer.liars == ({0} if bad in (Liar, OtherShape) else set())


@pytest.mark.parametrize("bad", [Silent, Empty, Liar, OtherShape, Replaying, Dripping])
def test_no_bad_helper_can_produce_an_unsigned_state(bad: type[Helper]) -> None:
    peer = fetching(bad, bad)
    for _ in range(3 * EXCLUDED_MS // 500):
        peer.turn()
        peer.now_ms += 500
        if peer.catch_up.is_complete:
            fetched = peer.catch_up.complete(tree_of(OWN))
            assert fetched is not None
            check(peer, fetched)
            break


def test_a_lying_helper_is_excluded_after_one_answer() -> None:
    peer = fetching(Helper, Liar)
    check(peer, peer.run(1_000))
    assert 1 <= len(peer.helpers[1].asked) <= REQUESTS_MAX
    assert not peer.catch_up.is_news(1, Manifest(128, b"x" * 32), peer.now_ms)
    assert peer.catch_up.is_news(1, Manifest(128, b"x" * 32), peer.now_ms + EXCLUDED_MS)


def test_a_helper_that_disappears_is_replaced_by_others() -> None:
    peer = fetching(Helper, Helper)
    for _ in range(10):
        peer.turn()
    peer.helpers[0].answer = lambda wanted: None  # type: ignore[method-assign]
    check(peer, peer.run(2 * FAST_MS))


def test_a_helper_that_does_not_answer_is_not_asked_for_a_while() -> None:
    peer = fetching(Silent)
    assert len(peer.ask()) == 1
    peer.now_ms = TIMEOUT_MS - 1
    assert peer.ask() == []
    peer.now_ms = TIMEOUT_MS
    assert peer.ask() == []
    assert not peer.offer(0, 2 * MANIFEST_COMMIT, OWN), "nor is its offer taken"
    peer.now_ms = TIMEOUT_MS + SILENT_MS - 1
    assert peer.ask() == []
    peer.now_ms += 1
    assert len(peer.ask()) == 1


def test_a_late_answer_is_still_used() -> None:
    peer = fetching(Helper)
    peer.delays[0] = TIMEOUT_MS + 1
    (wanted,) = peer.ask()
    peer.now_ms = TIMEOUT_MS
    assert peer.ask() == []
    member, number, commit, _ = wanted
    parts = peer.helpers[0].parts(wanted)
    assert peer.catch_up.take(member, number, commit, parts, peer.now_ms)
    assert "1 of the" in peer.catch_up.progress


def test_slow_helpers_are_asked_for_less_at_a_time() -> None:
    peer = fetching(Helper)
    check(peer, peer.run(1_000))
    assert max(len(one.places) for one in peer.helpers[0].asked) == PLACES_MAX
    peer = fetching(Helper)
    peer.delays[0] = TIMEOUT_MS - 1
    for _ in range(5 * TIMEOUT_MS):
        peer.turn()
    assert len(peer.helpers[0].asked[-1].places) < PLACES_FIRST


def test_a_helper_without_this_state_is_asked_again_soon() -> None:
    """It may be a little behind."""
    peer = fetching(Helper)
    peer.helpers[1] = behind = Helper((1, OWN))
    peer.delays[1] = 1
    for _ in range(5):
        peer.turn()
    assert len(behind.asked) == 1
    peer.now_ms += ABSENT_MS
    behind.states = peer.helpers[0].states
    check(peer, peer.run(100))
    assert len(behind.asked) > 1


def test_unrequested_answers_change_nothing() -> None:
    peer = fetching(Helper, Helper)
    before = peer.catch_up.progress
    state = tree_of(STATE)
    noise = [b"", b"noise", leaf_part(5, b"five"), *(b"x" * n for n in range(50))]
    for number in (0, 1, 7):
        assert peer.catch_up.take(1, number, MANIFEST_COMMIT, noise, 0)
        assert peer.catch_up.take(1, number, 5, noise, 0)
    assert peer.catch_up.progress == before
    root = part_at(state, STATE, ROOT)
    assert root is not None
    assert peer.catch_up.take(1, 9, 5, [root, root], 0), "what is true is of use, whoever says it"
    assert peer.catch_up.progress != before
    check(peer, peer.run(100))


def test_an_answer_with_another_requests_number_is_ignored() -> None:
    peer = fetching(Helper, Helper)
    (wanted,) = peer.ask()
    assert wanted.member == 0
    assert peer.catch_up.take(1, wanted.number, MANIFEST_COMMIT, [b"noise"], 0)
    assert peer.ask() == [], "0 is still to answer"
    assert not peer.catch_up.take(0, wanted.number, MANIFEST_COMMIT, [b"noise"], 0)


def test_a_newer_snapshot_is_followed_and_no_part_is_fetched_twice() -> None:
    newer = STATE | dict.fromkeys(range(0, 3000, 40), b"newer")
    peer = fetching(Helper, Helper)
    while peer.catch_up._target.walk.come < 1_500:  # type: ignore[union-attr]
        peer.turn()
    before = peer.catch_up.received
    for helper in peer.helpers.values():
        helper.states = Helper((128, newer)).states
    assert peer.offer(1, 128, newer)
    check(peer, peer.run(100), newer)
    pieces = {
        read_part(part)
        for helper in peer.helpers.values()
        for one in helper.asked
        if one.commit == 128
        for part in helper.parts(one)
        if part[:4] == b"leaf"
    }
    old = {read_part(part) for part in all_parts(STATE) if part[:4] == b"leaf"}
    assert len(pieces & old) < 1_800
    assert peer.catch_up.received < before + 200_000


def test_received_parts_are_dropped_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_sync, "KEPT_BYTES_MAX", 1_000)
    peer = fetching(Helper)
    for _ in range(20):
        peer.turn()
    newer = STATE | {5: b"newer"}
    assert peer.catch_up.received > 1_000
    assert peer.offer(0, 128, newer)
    peer.helpers[0].states = Helper((128, newer)).states
    assert peer.catch_up.progress.endswith("0 of the 1 parts known to differ")
    check(peer, peer.run(200), newer)


def test_a_newer_state_is_preferred_and_an_older_one_only_after_a_stall() -> None:
    peer = fetching(Silent, Helper)
    peer.helpers[1].states = {}
    assert peer.offer(0, 128, STATE | {5: b"newer"})
    assert not peer.offer(1, MANIFEST_COMMIT, STATE)
    peer.ask()
    peer.now_ms = STALLED_MS - 1
    assert not peer.offer(1, MANIFEST_COMMIT, STATE)
    peer.now_ms = STALLED_MS
    assert peer.offer(1, MANIFEST_COMMIT, STATE)
    peer.helpers[1].states = Helper((MANIFEST_COMMIT, STATE)).states
    check(peer, peer.run(2 * FAST_MS))


def test_the_own_state_may_change_during_a_fetch() -> None:
    peer = fetching(Helper, Helper)
    while peer.catch_up._target.walk.come < 1_500:  # type: ignore[union-attr]
        peer.turn()
    same = [key for key in OWN if STATE.get(key) == OWN[key]][:20]
    peer.own = OWN | dict.fromkeys(same, b"moved") | {9_999: b"new"}
    check(peer, peer.run(200))


def test_nothing_is_fetched_once_the_blocks_have_arrived() -> None:
    peer = fetching(Helper)
    assert peer.catch_up.requests([0], MANIFEST_COMMIT - 1, 0)
    assert not peer.catch_up.requests([0], MANIFEST_COMMIT, 0)
    assert peer.catch_up.progress == ""
    assert peer.catch_up.take(0, 1, MANIFEST_COMMIT, [], 0)


def test_progress_shows_received_and_known_missing_parts() -> None:
    peer = fetching(Helper)
    text = "fetching the state after commit 64: {} of the {} parts known to differ"
    assert peer.catch_up.progress == text.format(0, 1)
    peer.turn()
    assert peer.catch_up.progress == text.format(1, 5)
    peer.run(100)
    come = len(all_parts(STATE))
    assert peer.catch_up._target.walk.come < come  # type: ignore[union-attr]
    peer.catch_up.end()
    assert peer.catch_up.progress == ""


@pytest.mark.parametrize("seed", range(10))
def test_a_mix_of_all_helpers_ends_in_the_signed_state(seed: int) -> None:
    """ORDER-31. Pieces are taken as they come; the digest of all is compared in the end."""
    rng = random.Random(seed)
    kinds = [Silent, Empty, Liar, OtherShape, Replaying, Dripping]
    helpers: dict[int, Helper] = {0: Helper((64, STATE)), 1: Helper((64, STATE))}
    for n in range(2, 6):
        helpers[n] = rng.choice(kinds)((64, STATE))
    peer = Fetching(OWN, helpers)
    peer.delays = {n: rng.choice([1, 5, 50, 300]) for n in helpers}
    state, commit = STATE, 64
    assert peer.offer(rng.randrange(6), commit, state)
    for _ in range(rng.randrange(3)):
        for _ in range(rng.randrange(100)):
            peer.turn()
        commit += 64
        state = changed(state, {rng.randrange(6_000): rng.randbytes(4) for _ in range(50)})
        for n in (0, 1):
            helpers[n].states = Helper((commit, state)).states
        peer.offer(0, commit, state)
    check(peer, peer.run(20_000), state)
