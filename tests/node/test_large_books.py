"""What a peer tells of a book takes as many steps for a large book as for a small one, in one long
queue or in many levels. `tests.bench.bench_views` measures the same for a million orders."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from peer.client.protocol import DEPTH_MAX
from peer.node.publisher import QUEUE_WALKED_MAX
from tests.bench.bench_views import Shown

SMALL, LARGE = 12_000, 60_000  # orders on each side: more than any answer tells
STATE_BYTES_MAX = 2 * DEPTH_MAX * 40


def lines_run(asked: Callable[[], int]) -> int:
    """How many lines of Python an answer runs."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        asked()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("one_price", [True, False])
def test_an_answer_takes_as_long_and_is_as_large_as_for_a_small_book(one_price: bool) -> None:
    assert min(SMALL, LARGE) > max(DEPTH_MAX, QUEUE_WALKED_MAX)
    small, large = (Shown(orders, one_price) for orders in (SMALL, LARGE))
    for name in small.questions():
        sizes = [shown.questions()[name]() for shown in (small, large)]
        assert 0 < sizes[1] <= sizes[0] * 1.1, name
        lines = [lines_run(shown.questions()[name]) for shown in (small, large)]
        assert 0 < lines[1] <= lines[0] * 1.1, name
    assert large.state() <= STATE_BYTES_MAX
    levels = 1 if one_price else DEPTH_MAX
    assert len(large.mirror.bids.levels(LARGE)) == levels
