"""A large state is set aside from Python's garbage collector."""

import gc
from collections.abc import Iterator

import pytest

from peer.process.collector import YOUNG_MAX, SetAside, paused


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def is_visited(one: object) -> bool:
    return any(each is one for each in gc.get_objects())


def test_what_is_there_after_the_pause_is_not_visited_even_if_it_grows() -> None:
    with paused():
        assert not gc.isenabled()
        state: dict[int, list[int]] = {0: []}
    assert gc.isenabled()
    state.update((number, [number]) for number in range(100))
    assert not is_visited(state)
    assert is_visited(state[1])


def test_a_state_that_replaces_another_is_set_aside_once() -> None:
    first: list[object] = [[]]
    aside = SetAside(first)
    aside.watch(first)
    assert is_visited(first)
    second: list[object] = [[]]
    aside.watch(second)
    assert not is_visited(second)


def test_the_containers_of_one_turn_are_not_visited() -> None:
    with paused():
        pass
    before = collections()
    turn = [[number] for number in range(20_000)]
    assert collections() == before
    del turn
    cycles = 0
    while collections() == before and cycles < 10 * YOUNG_MAX:
        cycle: list[object] = []
        cycle.append(cycle)
        cycles += 1
    assert cycles <= 2 * YOUNG_MAX, "what only the collector can free does not grow without end"
