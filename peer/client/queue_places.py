"""The question for orders' places in their queues, and its answer. Has no behaviour."""

import msgspec

ORDERS_MAX = 100  # in one question


class GetQueue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_queue"):
    """What stands before orders of an account. The first ORDERS_MAX ids count."""

    account: str
    ids: list[int]


class Place(msgspec.Struct, frozen=True, array_like=True):
    """What stands before an order at its price. `is_whole`: the lots and orders are all of it;
    else there is more."""

    id: int
    market: str
    lots: int  # displayed
    orders: int
    is_whole: bool


class Queue(msgspec.Struct, frozen=True, tag="queue"):
    """The places of those orders that are in a book, after `commit`."""

    commit: int
    places: list[Place]
