"""Fetching what differs of a state, from helpers that help in all ways and in none. No sockets."""

import random

import pytest

from engine import leaf_part, read_part
from peer.storage import state_sync
from peer.storage.part_requests import (
    ABSENT_MS,
    EXCLUDED_MS,
    FAST_MS,
    PLACES_FIRST,
    PLACES_MAX,
    REQUESTS_MAX,
    SILENT_MS,
    TIMEOUT_MS,
)
from peer.storage.state_sync import STALLED_MS, Manifest
from peer.storage.tree_walk import ROOT
from tests.support.state_helpers import (
    MANIFEST_COMMIT,
    OWN,
    STATE,
    Dripping,
    Empty,
    Fetching,
    Helper,
    Liar,
    OtherShape,
    Replaying,
    Silent,
    check,
    fetching,
)
from tests.support.states import all_parts, changed, part_at, tree_of


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
