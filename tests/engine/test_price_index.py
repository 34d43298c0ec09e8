"""The keys of a side against a sorted list, with far more of them than are kept near the best."""

import random
from bisect import insort

import pytest

from engine.price_index import NEAR_AGAIN, NEAR_MAX, PriceIndex
from engine.sorted_keys import PART_MAX, SortedKeys

MOST = 3 * NEAR_MAX


def check(keys: PriceIndex, expected: set[int]) -> None:
    assert list(keys) == sorted(expected)
    assert len(keys) == len(expected)
    assert len(keys.near) <= NEAR_MAX
    assert not expected or keys.best() == min(expected)


@pytest.mark.parametrize("seed", range(2))
def test_keys_stay_in_order(seed: int) -> None:
    """Filled and emptied twice, at random places and, more often, near the best."""
    draw = random.Random(seed)
    keys, expected = PriceIndex(), set[int]()
    for growing in (True, False, True, False):
        while len(expected) < MOST if growing else expected:
            if (draw.random() < 0.7) is growing:
                key = draw.randrange(-MOST, MOST)
                if draw.random() < 0.3 and expected:
                    key = keys.best() - draw.randrange(1, 4)
                if key not in expected:
                    keys.add(key)
                    expected.add(key)
            elif expected:
                key = keys.best() if draw.random() < 0.6 else draw.choice(tuple(expected))
                keys.remove(key)
                expected.remove(key)
            if draw.random() < 0.003:
                check(keys, expected)
        check(keys, expected)


def test_only_the_best_keys_are_in_the_plain_list() -> None:
    keys = PriceIndex()
    for key in range(MOST):
        keys.add(key)
    assert len(keys.near) <= NEAR_MAX
    for key in range(MOST - 1):
        keys.remove(key)
        assert keys.best() == key + 1
        assert 0 < len(keys.near) <= NEAR_MAX
    keys.remove(MOST - 1)
    assert not len(keys)
    assert NEAR_AGAIN < NEAR_MAX


@pytest.mark.parametrize("seed", range(4))
def test_packed_keys_are_those_of_a_sorted_list(seed: int) -> None:
    """Keys come anywhere and above all others, and go anywhere and from the end, until none is
    left. No array is empty or too large, and few are small."""
    draw = random.Random(seed)
    keys, expected = SortedKeys(), list[int]()
    for most in (5 * PART_MAX, 0, PART_MAX // 2, 0):
        while len(expected) != most:
            if len(expected) > most:
                if draw.random() < 0.01:
                    count = draw.randrange(1, 1_500)
                    assert keys.take_last(count) == expected[-count:]
                    del expected[-count:]
                else:
                    keys.remove(expected.pop(draw.randrange(len(expected))))
            elif draw.random() < 0.01:
                start = expected[-1] + 1 if expected else -(2**40)
                more = range(start, start + draw.randrange(0, most - len(expected) + 1))
                keys.extend(more)
                expected += more
            elif (key := draw.randrange(-(2**40), 2**40)) not in expected:
                keys.add(key)
                insort(expected, key)
            if draw.random() < 0.01:
                assert list(reversed(keys)) == expected[::-1]
        assert len(keys) == len(expected)
        assert list(reversed(keys)) == expected[::-1]
        sizes = [len(part) for part in keys._parts]
        assert all(0 < size <= PART_MAX for size in sizes)
        assert sum(size < PART_MAX // 4 for size in sizes) <= 1 + len(sizes) // 2
        assert list(keys._lasts) == [part[-1] for part in keys._parts]
