"""Meshes over long distances, in the simulator."""

import pytest

from peer.consensus.committee import Mode
from tests.simulator import wide

BAR = 1.3  # times what the rules of the order alone would take


@pytest.mark.parametrize(
    ("size", "mode"), [(3, Mode.CRASH), (4, Mode.CRASH), (3, Mode.BYZANTINE), (4, Mode.BYZANTINE)]
)
def test_blocks_on_their_way_are_not_asked_for(size: int, mode: Mode) -> None:
    """ORDER-58. Links of 20, 80 and 150 ms, one message of a hundred lost; with waits that fit a
    local network only, a quarter of all bytes are needless answers."""
    found = wide.measure(wide.far(size, mode), seeds=2)
    assert found.needless < 0.04
    assert found.ratio < BAR


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("ms", [10, 150])
def test_the_order_takes_the_delays_of_its_rules(ms: int, mode: Mode) -> None:
    """ORDER-58. The same delay everywhere, one message of a hundred lost."""
    assert wide.measure(wide.even(ms, 3, mode), seeds=2).ratio < BAR
