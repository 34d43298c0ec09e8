"""Whom a peer asks for the chain of epochs, and when all were asked."""

import pytest

from peer.node.chain_seeker import AGAIN_MS, ASK_MS, WANTED_MS, ChainSeeker

NEWEST = 7


@pytest.fixture
def seeker() -> ChainSeeker:
    return ChainSeeker()


def asked(
    seeker: ChainSeeker,
    heard: list[int],
    now_ms: int,
    newest: int = NEWEST,
    lacks: int | None = None,
) -> list[tuple[int, int]]:
    return [(one.member, one.above) for one in seeker.requests(newest, lacks, heard, now_ms)]


def test_a_peer_with_the_whole_chain_asks_nobody(seeker: ChainSeeker) -> None:
    assert asked(seeker, [1, 2], 0) == []


def test_who_offers_a_later_state_is_asked_first_and_then_all_others(seeker: ChainSeeker) -> None:
    """ORDER-47: another one may have what the first lacks."""
    seeker.want(2, 0)
    assert asked(seeker, [1, 2, 3], 0) == [(2, NEWEST)]
    seeker.failed("a gap", 10)
    seeker.want(2, 10)
    assert asked(seeker, [1, 2, 3], 10) == [], "it was asked already"
    assert not seeker.has_asked([1, 2, 3])
    assert asked(seeker, [1, 2, 3], ASK_MS) == [(1, NEWEST)]
    assert asked(seeker, [1, 2, 3], 2 * ASK_MS) == [(3, NEWEST)]
    assert seeker.has_asked([1, 2, 3])
    assert not seeker.has_asked([1, 2, 3, 4]), "a member that is heard since then"
    assert asked(seeker, [1, 2, 3], 2 * ASK_MS + AGAIN_MS - 1) == []
    assert asked(seeker, [1, 2, 3], 2 * ASK_MS + AGAIN_MS) == [(2, NEWEST)]
    assert seeker.gap == "a gap"


def test_a_chain_that_leads_further_begins_the_turns_anew(seeker: ChainSeeker) -> None:
    seeker.want(1, 0)
    assert asked(seeker, [1, 2], 0) == [(1, NEWEST)]
    seeker.failed("a gap after epoch 8", 1)
    assert asked(seeker, [1, 2], 1, newest=8) == [(1, 8)]
    assert seeker.gap == "", "until somebody says so again"
    assert not seeker.has_asked([1, 2])


def test_nobody_is_asked_for_long_for_what_nobody_mentions_again(seeker: ChainSeeker) -> None:
    seeker.failed("a gap", 0)
    assert asked(seeker, [1], WANTED_MS - 1) == [(1, NEWEST)]
    assert asked(seeker, [1], WANTED_MS + AGAIN_MS) == []
    assert seeker.gap == ""


def test_a_certificate_that_is_missing_here_is_asked_for(seeker: ChainSeeker) -> None:
    """ORDER-47: or this peer would hand out a chain that nobody can verify."""
    assert asked(seeker, [], 0, lacks=3) == []
    assert asked(seeker, [4], 0, lacks=3) == [(4, 2)]
    assert asked(seeker, [4, 5], ASK_MS, lacks=3) == []
    assert asked(seeker, [4, 5], AGAIN_MS, lacks=3) == [(5, 2)]
