"""What an order asks for, and what is said about one.

Owns the conditions of orders and the two views of an open order: as shown to its owner, and as kept
in a snapshot. Must never hold an order's place: that is `queue`.
"""

from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from engine.orders import OpenOrder, OrderType, SelfTrade, TimeInForce

if TYPE_CHECKING:
    from engine.queue import Order


class Conditions(
    msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True
):
    """What an order asks for beyond a price and a quantity."""

    type: OrderType = OrderType.LIMIT
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    stop_price: int = 0
    display: int = 0
    self_trade: SelfTrade = SelfTrade.NONE
    expire_ms: int = 0


PLAIN: Final = Conditions()  # of nearly all orders, which share it


def shared(asked: Conditions) -> Conditions:
    """The same conditions, of which plain ones exist but once."""
    return PLAIN if asked == PLAIN else asked


# The fields of an order that are state, in the order of `state.Kept`; the others are its place.
state_of: Final = attrgetter(
    "id",
    "owner.name",
    "owner.market",
    "side",
    "price",
    "quantity",
    "remaining",
    "hidden",
    "client_id",
    "conditions",
)


def view(order: "Order") -> OpenOrder:
    """An open order as its owner sees it."""
    asked = order.conditions
    return OpenOrder(
        order.id,
        order.owner.name,
        order.owner.market,
        order.side,
        order.price,
        order.remaining,
        order.quantity,
        asked.type,
        asked.tif,
        asked.stop_price,
        asked.display,
        asked.expire_ms,
        order.client_id,
    )
