"""Changes as people write them: decimals and names become ticks, lots and seats."""

from decimal import Decimal

import msgspec
import pytest

from engine import Market
from peer.client import change_input
from peer.client.change_input import Known, Wanted, change_of
from peer.client.order_input import InvalidInputError
from peer.client.proposal_views import Presence
from peer.membership.identity import Identity
from peer.replica import changes

KEY = Identity(b"k" * 32).public.hex()
BTC = Market("BTC-USD", "0.05", "0.001")
KNOWN = Known({"BTC-USD": BTC}, [Presence(0, "ann", True, 1, 1), Presence(4, "bob", False, 0, 0)])


@pytest.mark.parametrize(
    ("text", "change"),
    [
        (
            '{"change":"add_market","symbol":"N","tick":"0.5","lot":"2","price_max":"1000",'
            '"quantity_min":4,"price_band_percent":7}',
            changes.AddMarket(
                Market("N", "0.5", "2", quantity_min=2, price_max=2_000, price_band_percent=7)
            ),
        ),
        (
            '{"change":"change_market","symbol":"BTC-USD","quantity_min":"0.005","orders_max":9}',
            changes.ChangeMarket("BTC-USD", quantity_min=5, orders_max=9),
        ),
        ('{"change":"halt_market","symbol":"N"}', changes.HaltMarket("N")),
        ('{"change":"resume_market","symbol":"N"}', changes.ResumeMarket("N")),
        ('{"change":"close_market","symbol":"N"}', changes.CloseMarket("N")),
        ('{"change":"cancel_account","account":"ann"}', changes.CancelAccount("ann")),
        (f'{{"change":"add_member","name":"eve","key":"{KEY}"}}', changes.AddMember("eve", KEY)),
        ('{"change":"remove_member","member":"bob"}', changes.RemoveMember(4)),
        (
            f'{{"change":"replace_member","member":"bob","name":"eve","key":"{KEY}"}}',
            changes.ReplaceMember(4, "eve", KEY),
        ),
        ('{"change":"activate","level":3}', changes.Activate(3)),
    ],
)
def test_a_change_in_json(text: str, change: changes.Change) -> None:
    wanted = msgspec.json.decode(text, type=Wanted)
    assert change_of(wanted, KNOWN) == change


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (change_input.ChangeMarket(symbol="N", orders_max=9), "symbol"),
        (
            change_input.ChangeMarket(symbol="BTC-USD", quantity_min=Decimal("0.0005")),
            "quantity_min",
        ),
        (change_input.ChangeMarket(symbol="BTC-USD", price_max=Decimal(100)), "price_max"),
        (change_input.ChangeMarket(symbol="BTC-USD"), "changes"),
        (change_input.AddMarket(symbol="N", tick="0", lot="1"), "changes"),
        (change_input.AddMarket(symbol="a b", tick="1", lot="1"), "changes"),
        (change_input.AddMember("eve", "f" * 64), "changes"),
        (change_input.RemoveMember("eve"), "member"),
    ],
)
def test_an_impossible_change_names_its_field(wanted: Wanted, field: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        change_of(wanted, KNOWN)
    assert error.value.field == field
