"""The answer to a command, in JSON: the same over HTTP and over the WebSocket.

Owns the shape only. `id` is the order the command is about, or the command's own for a cancel-all.
"""

from typing import Any

from engine import Cancel, Command, Submit
from peer.client.protocol import format_id
from peer.replica.order_state import Outcome, Status, submitted
from web.contract import views
from web.market_data.mirrors import Mirrors
from web.market_data.pending_requests import Submission

Json = dict[str, Any]


def answer_json(submission: Submission, index: int, mirrors: Mirrors) -> Json:
    """What is known of the command at `index`: its final result, or that it is pending."""
    command = submission.commands[index]
    if submission.is_withdrawn and isinstance(command, Cancel):
        return _withdrawn(command.order)
    number = submission.ids[index]
    outcome = submission.outcomes.get(number)
    if outcome is None:
        return _pending(command, number, mirrors)
    when = {"commit": submission.commit, "time": submission.time_ms}
    if isinstance(command, Submit):
        assert outcome.order is not None
        return views.order_json(outcome.order, mirrors.units(command.market)) | when
    with mirrors.lock:
        return _change(outcome, mirrors, submission) | when


def _pending(command: Command, number: int, mirrors: Mirrors) -> Json:
    """A command that is on disk here and not ordered yet."""
    if isinstance(command, Submit):
        return views.order_json(submitted(command, number), mirrors.units(command.market))
    about = getattr(command, "order", number)
    return {"id": format_id(about), "status": Status.PENDING.value}


def _change(outcome: Outcome, mirrors: Mirrors, submission: Submission) -> Json:
    """The outcome of a command about orders that were there before."""
    order = outcome.order
    if outcome.reason is not None:
        about = order.id if order else outcome.id
        view = {"id": format_id(about), "status": Status.REJECTED.value}
        return view | views.explain(outcome.reason)
    if order is None:
        cancelled = [format_id(number) for number in outcome.cancelled]
        return {"id": format_id(outcome.id), "status": "done", "cancelled": cancelled}
    # The mirror knows all of the order, the events of one command only what they changed.
    known = mirrors.find_order(order.id)
    told = known or order
    if known and mirrors.commit < submission.commit and known.time_ms < submission.time_ms:
        told = known.after(order)
    return views.order_json(told, mirrors.units(order.market))


def _withdrawn(number: int) -> Json:
    """An order that was taken back before any other peer saw it."""
    return {
        "id": format_id(number),
        "status": Status.CANCELLED.value,
        "detail": "Withdrawn before it was ordered.",
    }
