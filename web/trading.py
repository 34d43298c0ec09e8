"""The routes that trade: place, change and cancel orders, and ask what became of them.

Owns their paths and the wait for a final result. Must never answer in the node's place.
"""

import queue
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from flask import Blueprint, Response, request

from engine.orders import Cancel, Command, Submit
from peer.keys import Scope
from peer.orders import OrderView, submitted
from web import schema, views
from web.access import address
from web.desk import Submission
from web.http import Json, account, answer, body, the_gateway
from web.problems import Problem, refused, rejected
from web.results import answer_json, withdrawn_json

blueprint = Blueprint("trading", __name__)
CATCH_UP_SECONDS = 0.25  # a final answer waits so long for the mirrors to show it too
ORDERS_SECONDS = 1.0  # an account's orders are waited for so long


class Result(NamedTuple):
    """What became of a request, in JSON; not `is_final` while it is not ordered."""

    view: Json
    is_final: bool


@blueprint.post("/order")
def place() -> Response:
    return _answer(place_order(body()))


def place_order(data: object) -> Result:
    submission = _submit([_new_order(data)])
    return Result(_result(submission, 0), submission.is_complete)


def _new_order(data: object) -> Submit:
    order = schema.parse(schema.NewOrder, data)
    name = account(Scope.TRADE, order.account)
    return schema.submit_of(order, the_gateway().units(order.market), name)


@blueprint.post("/orders")
def place_many() -> Response:
    """Several orders, in order and right behind one another; if one is not valid, none is sent."""
    orders = schema.orders_of(body())
    commands = []
    for index, order in enumerate(orders):
        try:
            commands.append(_new_order(order))
        except Problem as problem:
            problem.more["index"] = index
            raise
    submission = _submit(commands)
    results = [_result(submission, index) for index in range(len(commands))]
    return _answer(Result({"results": results}, submission.is_complete))


@blueprint.get("/orders")
def orders() -> Response:
    gateway, name = the_gateway(), account(Scope.READ)
    gateway.watch_account(name)
    with gateway.mirrors.lock:
        mirror = gateway.mirrors.await_orders(name, ORDERS_SECONDS)
        if mirror is None:
            raise Problem(503, "This peer's node did not list the orders in time.", "starting")
        view = {
            "account": name,
            "orders": [_order_json(order) for order in mirror.open.values()],
            "finished": [_order_json(order) for order in mirror.finished.values()],
        }
    return answer(view)


@blueprint.get("/orders/<text>")
def order(text: str) -> Response:
    """One order, as far as this gateway remembers: open ones and the most recent others."""
    wanted = schema.order_id(text)
    found = the_gateway().mirrors.find_order(wanted) or _recent(wanted)
    if found is None:
        raise Problem(404, f"No order {text} is open or recent here.", "unknown_order", "id")
    account(Scope.READ, found.account)
    return answer(_order_json(found))


def _recent(wanted: int) -> OrderView | None:
    command, outcome = the_gateway().desk.known(wanted) or (None, None)
    if not isinstance(command, Submit):
        return None
    return outcome.order if outcome else submitted(command, wanted)


def _order_json(order: OrderView) -> Json:
    return views.order_json(order, the_gateway().mirrors.units(order.market))


@blueprint.patch("/order/<text>")
def change(text: str) -> Response:
    """A smaller quantity keeps the order's place in the queue; anything else loses it."""
    wish = schema.parse(schema.Change, body())
    gateway, wanted = the_gateway(), schema.order_id(text)
    name = account(Scope.TRADE, wish.account)
    known = gateway.open_order(name, wanted, ORDERS_SECONDS)
    command = schema.change_of(wish, known, gateway.units(known.market))
    return _answer(_change(command))


@blueprint.delete("/order/<text>")
def cancel(text: str) -> Response:
    return _answer(cancel_order(schema.cancel_of(text, account(Scope.TRADE))))


def cancel_order(command: Cancel) -> Result:
    if the_gateway().desk.is_pending(command.order) and _withdraw(command):
        return Result(withdrawn_json(command.order), True)
    return _change(command)


@blueprint.delete("/orders")
def cancel_all() -> Response:
    asked = {key: request.args[key] for key in ("account", "market", "side") if key in request.args}
    wish = schema.parse(schema.Withdrawal, asked)
    return _answer(_change(schema.cancel_all_of(wish, account(Scope.TRADE, wish.account))))


def _withdraw(command: Cancel) -> bool:
    """Take back an order that no other peer has seen. False: it must be cancelled instead."""
    gateway = the_gateway()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    gateway.desk.withdraw(command.account, command.order, answers.put)
    try:
        return answers.get(timeout=gateway.config.order_timeout)
    except queue.Empty:
        return False


def _change(command: Command) -> Result:
    """A command about orders that are there: a rejection of it is an error."""
    submission = _submit([command])
    view = _result(submission, 0)
    outcome = submission.outcomes.get(submission.ids[0])
    if outcome is not None and outcome.reason is not None:
        raise rejected(outcome.reason, id=view["id"], commit=view["commit"])
    return Result(view, submission.is_complete)


def _answer(result: Result) -> Response:
    return answer(result.view, 200 if result.is_final else 202)


def _result(submission: Submission, index: int) -> Json:
    return answer_json(submission, index, the_gateway().mirrors)


def _submit(commands: Sequence[Command]) -> Submission:
    """Send commands and wait for the end of them, but no longer than the timeout; while many wait
    already, only until they are on disk here, so that some threads are always free."""
    gateway = the_gateway()
    for name, count in Counter(command.account for command in commands).items():
        gateway.access.pace_orders(name, address(), count)
        gateway.watch_account(name)
    submission = gateway.desk.submit(commands)
    if gateway.waiting.acquire(blocking=False):
        try:
            submission.wait(gateway.config.order_timeout)
        finally:
            gateway.waiting.release()
    else:
        submission.wait_queued(gateway.config.order_timeout)
    if submission.refused is not None:
        raise refused(submission.refused, submission.ids)
    if not submission.ids:
        raise Problem(
            504,
            "The peer's node did not answer: the order may or may not have been taken. "
            "Look at your open orders before you send it again.",
            "unknown_outcome",
        )
    gateway.mirrors.await_commit(submission.commit, CATCH_UP_SECONDS)
    return submission
