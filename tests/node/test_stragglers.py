"""Frames of the next epoch that come before this peer has entered it."""

from peer.node.stragglers import EARLY_MAX, EarlyFrames


def test_early_frames_wait_untouched_for_their_epoch() -> None:
    """Looking at them before would cost a peer that is behind a decoding of each in every turn."""
    early = EarlyFrames()
    early.keep(3, b"one", 5)
    early.keep(4, b"two", 5)
    assert early.take(4) == []
    assert early.take(5) == [(3, b"one"), (4, b"two")]
    assert early.take(5) == []


def test_frames_of_an_epoch_that_was_skipped_are_dropped() -> None:
    early = EarlyFrames()
    early.keep(3, b"old", 5)
    early.keep(3, b"new", 7)
    assert early.take(7) == [(3, b"new")]
    assert early.take(5) == []


def test_only_the_last_frames_of_a_member_are_kept() -> None:
    early = EarlyFrames()
    for number in range(EARLY_MAX + 2):
        early.keep(3, b"%d" % number, 1)
    assert early.take(1) == [(3, b"%d" % number) for number in range(2, EARLY_MAX + 2)]
