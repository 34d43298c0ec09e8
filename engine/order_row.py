"""The fields of one open order in the state, their limits and their encoding.

Must never be compiled: mypyc gives a class no type hints at run time, and the decoder follows them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta

from engine.order_terms import PLAIN, OrderTerms
from engine.vocabulary import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    OpenOrder,
    OrderType,
    SelfTrade,
    Side,
    TimeInForce,
)


class Row(NamedTuple):
    """An open order without its id."""

    account: Annotated[str, Meta(min_length=1, max_length=ACCOUNT_LENGTH_MAX)]
    market: Annotated[int, Meta(ge=0)]  # its index in the head
    side: Side
    price: Annotated[int, Meta(ge=0)]
    quantity: Annotated[int, Meta(ge=1)]
    remaining: Annotated[int, Meta(ge=1)]
    hidden: Annotated[int, Meta(ge=0)]
    behind: Annotated[int, Meta(ge=0, le=ID_MAX)]  # its priority minus its id: nearly always 0
    client_id: Annotated[str, Meta(max_length=CLIENT_ID_LENGTH_MAX)]
    terms: OrderTerms | None  # None: plain ones


def opened(id: int, row: Row, markets: Sequence[str]) -> OpenOrder:
    """The open order of a row as its owner sees it. `markets`: the symbols of all, by index."""
    asked = row.terms or PLAIN
    return OpenOrder(
        id,
        row.account,
        markets[row.market],
        row.side,
        row.price,
        row.remaining,
        row.quantity,
        asked.type,
        asked.tif,
        asked.stop_price,
        asked.display,
        asked.expire_ms,
        row.client_id,
    )


# Plain tuples: a restore reads a million of them fast and drops them.
Fields = tuple[str, int, Side, int, int, int, int, int, str, OrderTerms | None]
_fields: Final[Any] = tuple[tuple(get_type_hints(Row, include_extras=True).values())]  # type: ignore[misc]
decode_rows: Final = msgspec.msgpack.Decoder(list[_fields]).decode
encode_row: Final = msgspec.msgpack.Encoder().encode


def _longest_row() -> bytes:
    name = "\N{GRINNING FACE}"  # four bytes
    type, tif, stp = max(OrderType), max(TimeInForce), max(SelfTrade)
    terms = OrderTerms(type, tif, True, ID_MAX, ID_MAX, stp, ID_MAX)
    numbers = (ID_MAX,) * 5
    account, client_id = name * ACCOUNT_LENGTH_MAX, name * CLIENT_ID_LENGTH_MAX
    return encode_row(Row(account, ID_MAX, max(Side), *numbers, client_id, terms))


LONGEST_ROW_BYTES: Final = len(_longest_row())
