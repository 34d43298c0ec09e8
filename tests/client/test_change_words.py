"""What is proposed, in words: members vote on what these say."""

import pytest

from engine import Market
from peer.client.change_words import change_text
from peer.replica.changes import AddMarket, Change, ChangeMarket, RemoveMember

MARKETS = {"N": Market("N", "0.5", "0.001")}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            ChangeMarket("N", quantity_min=500, price_max=3 * 10**12, orders_max=2_000_000),
            "change market N: quantity_min 0.500, price_max 1500000000000.0, orders_max 2000000",
        ),
        (
            ChangeMarket("M", quantity_min=500, price_max=7),
            "change market M: quantity_min 500 lots, price_max 7 ticks",
        ),
        (AddMarket(Market("M", "0.5", "2")), "add market M with tick 0.5 and lot 2"),
        (
            AddMarket(Market("M", "0.5", "2", quantity_max=9, price_band_percent=7)),
            "add market M with tick 0.5 and lot 2, quantity_max 18, price_band_percent 7",
        ),
        (RemoveMember(3), "remove member seat 4"),
    ],
)
def test_a_change_says_all_that_it_does_in_the_units_of_people(change: Change, text: str) -> None:
    assert change_text(change, markets=MARKETS) == text
