"""The ordered clock: what time it is when a commit is applied.

Pure. Must never read a clock: what it knows are the times that blocks say.
"""

from collections.abc import Sequence


def ordered_time_ms(times_ms: Sequence[int]) -> int:
    """ORDER-20. The lower median of the times that all members last said. Of n clocks (n - 1) // 2
    may be ahead by any amount and do not move it, nor do as many that stand still or belong to
    members that are silent."""
    return sorted(times_ms)[(len(times_ms) - 1) // 2]
