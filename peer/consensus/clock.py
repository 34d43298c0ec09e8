"""The ordered clock: the time at which a commit is applied.

Pure. Must never read a clock: it uses only the times in blocks.
"""

from collections.abc import Sequence


def ordered_time_ms(times_ms: Sequence[int]) -> int:
    """ORDER-20. The lower median of the last times of all members. Of n clocks, (n - 1) // 2 may be
    ahead by any amount without moving it, and as many may stand still or be of silent members."""
    return sorted(times_ms)[(len(times_ms) - 1) // 2]
