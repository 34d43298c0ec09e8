"""A large state is set aside from Python's garbage collector."""

import gc
from collections.abc import Iterator

import pytest

from peer.process.collector import NEW_MAX, SetAside, paused


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def is_visited(one: object) -> bool:
    return any(each is one for each in gc.get_objects())


def test_what_is_there_after_the_pause_is_not_visited_even_if_it_grows() -> None:
    with paused():
        assert not gc.isenabled()
        state: dict[int, list[int]] = {0: []}
    assert gc.isenabled()
    assert gc.get_threshold()[0] == NEW_MAX
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
