"""Cancels of orders by the word of the member that took them, not of their account.

Owns which orders these are. Must never cancel an order that another member took.
"""

from collections.abc import Iterable

import msgspec

from engine import Cancel, CancelAll, Cancelled, Event, Exchange, Reason, Rejected
from peer.replica.execution_record import MEMBERS_SPACE


def remove(exchange: Exchange, command: Cancel | CancelAll, member: int) -> list[Event]:
    """Cancel the orders of `command` that the member took."""
    if type(command) is Cancel:
        order = exchange.order(command.order)
        if order is not None and order.id % MEMBERS_SPACE != member:
            return [Rejected(command.id, command.account, Reason.NOT_TAKEN_HERE)]
        return with_reason(exchange.apply(command), Reason.REMOVED)
    assert type(command) is CancelAll
    if command.market and command.market not in exchange.books:
        return [Rejected(command.id, command.account, Reason.UNKNOWN_MARKET)]
    found = [
        order.id
        for order in exchange.open_orders(command.account, command.market)
        if order.id % MEMBERS_SPACE == member and command.side in (None, order.side)
    ]
    cancels = [Cancel(command.id, command.account, id_) for id_ in found]
    events = (event for events in exchange.apply_batch(cancels) for event in events)
    return with_reason(events, Reason.REMOVED)


def with_reason(events: Iterable[Event], reason: Reason) -> list[Event]:
    """The events, with this reason for each cancelled order."""
    return [
        msgspec.structs.replace(event, reason=reason) if type(event) is Cancelled else event
        for event in events
    ]
