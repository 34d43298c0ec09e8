"""What an order asks for beyond a price and a quantity.

Owns these terms. Must never hold an order's place: `book_side` does.
"""

from typing import Final

import msgspec

from engine.vocabulary import OrderType, SelfTrade, TimeInForce


class OrderTerms(
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


PLAIN: Final = OrderTerms()  # nearly all orders share it


def shared(asked: OrderTerms) -> OrderTerms:
    """The same terms; all plain orders share one object."""
    return PLAIN if asked == PLAIN else asked
