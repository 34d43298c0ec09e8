"""The keys of a side against a sorted list, with far more of them than are kept near the best."""

import random

import pytest

from engine.price_index import NEAR_AGAIN, NEAR_MAX, PriceIndex

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
