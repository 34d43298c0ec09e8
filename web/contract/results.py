"""The answer to a command, over HTTP and WebSocket.

Owns the choice of the answer. Its `id` is that of the order, or for a cancel-all that of the
command.
"""

from msgspec.structs import replace

from engine import Cancel, Submit
from peer.client.protocol import format_id
from peer.replica.order_state import Outcome, Status, submitted
from web.contract.responses import Cancelled, Order, Pending, Rejected, Result, Withdrawn, explain
from web.market_data.mirrors import Mirrors
from web.market_data.pending_requests import Submission


def answer_of(submission: Submission, mirrors: Mirrors) -> Result:
    """The result of one command, or that it is pending."""
    command = submission.commands[0]
    if isinstance(command, Submit):
        return placed(submission, 0, mirrors)
    if submission.is_withdrawn and isinstance(command, Cancel):
        text = "Withdrawn before it was ordered."
        return Withdrawn(format_id(command.order), Status.CANCELLED, text)
    number = submission.ids[0]
    outcome = submission.outcomes.get(number)
    if outcome is None:
        return Pending(format_id(getattr(command, "order", number)), Status.PENDING)
    return _changed(outcome, submission, mirrors)


def placed(submission: Submission, index: int, mirrors: Mirrors) -> Order:
    """The same for a new order in a batch."""
    command, number = submission.commands[index], submission.ids[index]
    assert isinstance(command, Submit)
    units = mirrors.units(command.market)
    outcome = submission.outcomes.get(number)
    if outcome is None:
        return Order.of(submitted(command, number), units)
    assert outcome.order is not None
    view = Order.of(outcome.order, units)
    return replace(view, commit=submission.commit, time=submission.time_ms)


def _changed(outcome: Outcome, submission: Submission, mirrors: Mirrors) -> Result:
    """The result of a command on existing orders."""
    order = outcome.order
    commit, time_ms = submission.commit, submission.time_ms
    about = format_id(order.id if order else outcome.id)
    if outcome.reason is not None:
        return Rejected(about, Status.REJECTED, *explain(outcome.reason), commit, time_ms)
    if order is None:
        gone = [format_id(number) for number in outcome.cancelled]
        return Cancelled(about, "done", gone, commit, time_ms)
    # The mirror has the whole order; the events of one command have only what it changed.
    with mirrors.lock:
        told = mirrors.find_order(order.id) or order
        view = Order.of(told, mirrors.units(order.market))
    return replace(view, commit=commit, time=time_ms)
