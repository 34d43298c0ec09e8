"""Orders that leave are freed without harm. The ways they leave are in `tests.heap`; that they hold
nothing is asserted by the differential tests, after each step."""

import gc
from weakref import ref

import pytest

from tests import compiled, heap


def test_thousands_of_orders_leave_at_once_without_a_stack_overflow() -> None:
    assert heap.faults(20_000) == ""


def test_an_exchange_is_freed_without_the_garbage_collector() -> None:
    """It is in no circle: whoever lets go of it last frees it there and then."""
    gc.disable()
    try:
        exchange = heap.filled(10)
        seen = ref(exchange)
        del exchange
        assert seen() is None
    finally:
        gc.enable()


def test_without_a_compiler_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no-such-compiler" in compiled.missing()
