"""All peers have one book, for any orders at any peers at any time.

Real Grapes, real processes, real sockets.
"""

import os
import random
from collections.abc import Iterator

import pytest

from discovery.grapes import running_grapes
from engine import Cancel, CancelAll, Cancelled, Side, Trade
from peer.client.protocol import Result
from tests.support.real_mesh import OTHER_MARKET, RealMesh, order, random_orders, submit_at_once

SEEDS = int(os.environ.get("AGREEMENT_SEEDS", "2"))
TRIALS = int(os.environ.get("AGREEMENT_TRIALS", "40"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    with running_grapes() as grapes:
        folder = tmp_path_factory.mktemp("mesh")
        with RealMesh(folder, [grape.spec.url for grape in grapes]) as mesh:
            mesh.start()
            yield mesh


def trades_in(results: list[Result]) -> list[Trade]:
    return [event for result in results for event in result.events if isinstance(event, Trade)]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_crossing_orders_at_all_peers_at_once(mesh: RealMesh, seed: int) -> None:
    """ORDER-36."""
    rng = random.Random(seed)
    before = mesh.agreed()
    made = before.trades[0].number if before.trades else 0
    flows = [
        (peer.client, random_orders(rng, f"trader{n}", 667)) for n, peer in enumerate(mesh.peers)
    ]
    results = submit_at_once(flows)
    after = mesh.agreed()
    reported = [trade for flow in results for trade in trades_in(flow)]
    assert len(reported) > 500
    assert after.trades[0].number - made == len(reported), "every trade is reported exactly once"
    assert len({result.id for flow in results for result in flow}) == 3 * 667


def test_all_orders_are_cancelled_at_once(mesh: RealMesh) -> None:
    """All peers free many orders at once."""
    for price in (500, 501):
        resting = [order("maker", Side.BUY, price, 1, OTHER_MARKET) for _ in range(500)]
        flows = [(peer.client, [*resting, CancelAll(0, "maker")]) for peer in mesh.peers]
        results = submit_at_once(flows, per_request=len(resting) + 1)
        gone = [event for flow in results for result in flow for event in result.events]
        assert sum(isinstance(event, Cancelled) for event in gone) == 3 * len(resting)
    assert mesh.agreed(market=OTHER_MARKET).bids == []


def test_one_sell_and_two_buyers_of_its_whole_quantity(mesh: RealMesh) -> None:
    buyers = mesh.peers[:2]
    wins = [0, 0]
    for trial in range(TRIALS):
        price = 1_000 + trial
        mesh.peers[2].client.execute([order("seller", Side.SELL, price, 5, OTHER_MARKET)])
        buys = [order(f"buyer{n}", Side.BUY, price, 5, OTHER_MARKET) for n in range(2)]
        results = submit_at_once([(p.client, [b]) for p, b in zip(buyers, buys, strict=True)])
        bought = [sum(trade.quantity for trade in trades_in(flow)) for flow in results]
        assert sorted(bought) == [0, 5], f"exactly one buyer; got {bought}"
        winner = bought.index(5)
        wins[winner] += 1
        state = mesh.agreed(market=OTHER_MARKET)
        assert state.trades[0].taker == results[winner][0].id
        loser = results[1 - winner][0].id
        mesh.peers[1 - winner].client.execute([Cancel(0, f"buyer{1 - winner}", loser)])
    assert min(wins) > 0, f"neither buyer always wins a tie: {wins}"
