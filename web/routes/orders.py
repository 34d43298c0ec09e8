"""The routes that trade: place, change and cancel orders, and ask what became of them.

Owns their paths and the wait for a final result. Must never answer in the node's place.
"""

import queue
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from flask import Blueprint, Response, request

from engine import Cancel, CancelAll, Submit
from peer.replica.order_state import FINAL, OrderView, Status, submitted
from peer.replica.signed import KEY_PREFIX, Entry
from web import queries
from web.auth.access import address
from web.auth.history_access import Asked
from web.auth.keys import Scope
from web.auth.signatures import cancelling, signed
from web.contract import requests, views
from web.contract.problems import Problem, refused, rejected
from web.contract.results import answer_json, withdrawn_json
from web.market_data.pending_requests import Submission
from web.routes.request import Json, account, answer, body, query, the_gateway, the_past, trader

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


def _new_order(data: object) -> Entry:
    order, gateway = requests.parse(requests.NewOrder, data), the_gateway()
    name = trader(order.account, order.signature)
    command = requests.submit_of(order, gateway.units(order.market), name)
    return signed(command, order.signature, gateway.mesh_id)


@blueprint.post("/orders")
def place_many() -> Response:
    """Several orders, in order and right behind one another; if one is not valid, none is sent."""
    orders = requests.orders_of(body())
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
    """Open orders, and a page of those that ended; of a later page these alone."""
    gateway, name = the_gateway(), account(Scope.READ)
    asked = query(requests.OrdersQuery)
    before = requests.order_id(asked.before) if asked.before else None
    gateway.watch_account(name)
    with gateway.mirrors.lock:
        mirror = gateway.mirrors.await_orders(name, ORDERS_SECONDS)
        if mirror is None:
            raise Problem(503, "This peer's node did not list the orders in time.", "starting")
        open_ = [] if before else [_order_json(order) for order in mirror.open.values()]
        recent = [replace(order) for order in reversed(mirror.finished.values())]
    history = the_past()
    ended = queries.finished(history, name, recent, before, asked.limit)
    return answer(
        {
            "account": name,
            "orders": open_,
            "finished": [_order_json(order) for order in ended],
            "since": history.orders_since() if history else None,
        }
    )


@blueprint.get("/orders/<text>")
def order(text: str) -> Response:
    """One order, open or not. Before much is read it is clear that the caller may see it."""
    wanted = requests.order_id(text)
    access, history = the_gateway().access, the_past()
    access.known(access.of_request())
    found, recent = the_gateway().mirrors.find_order(wanted), _recent(wanted)
    known = found or recent
    owner = known.account if known else history.owner(wanted) if history else ""
    if owner and access.may_read(access.of_request(), owner):
        if recent is not None and recent.status in (*FINAL, Status.PENDING):
            found = found or recent
        elif recent is not None:
            found = found or _watched(owner, wanted)
        if found is None and history is not None:
            found = _from_past(history, wanted)
        if found is not None:
            return answer(_order_json(queries.completed(history, found) if history else found))
    raise Problem(404, f"What became of order {text} is not known here.", "unknown_order", "id")


def _from_past(history: Asked, wanted: int) -> OrderView | None:
    """An order as the journal has it; one that did not end there, as the node has it now."""
    found = queries.find_order(history, wanted)
    return found if found is None or found.status in FINAL else _watched(found.account, wanted)


def _watched(account: str, wanted: int) -> OrderView | None:
    """An order that may still be open, as the node has it now."""
    the_gateway().watch_account(account)
    the_gateway().mirrors.await_orders(account, ORDERS_SECONDS)
    return the_gateway().mirrors.find_order(wanted)


def _recent(wanted: int) -> OrderView | None:
    """What the command that placed it came to; much may have happened to it since."""
    command, outcome = the_gateway().desk.known(wanted) or (None, None)
    if not isinstance(command, Submit):
        return None
    return outcome.order if outcome else submitted(command, wanted)


def _order_json(order: OrderView) -> Json:
    return views.order_json(order, the_gateway().mirrors.units(order.market))


@blueprint.patch("/order/<text>")
def change(text: str) -> Response:
    """A smaller quantity keeps the order's place in the queue; anything else loses it."""
    wish = requests.parse(requests.Change, body())
    return _answer(_change(_changed(wish, text)))


def _changed(wish: requests.Change, text: str) -> Entry:
    gateway = the_gateway()
    name = trader(wish.account, wish.signature)
    if wish.signature is not None:
        command = requests.signed_change_of(wish, name, text, gateway.units(wish.market))
        return signed(command, wish.signature, gateway.mesh_id)
    wanted = requests.order_id(text)
    known = gateway.open_order(name, wanted, ORDERS_SECONDS)
    return requests.change_of(wish, known, gateway.units(known.market))


@blueprint.delete("/order/<text>")
def cancel(text: str) -> Response:
    return _answer(cancel_order(text, "", _signature()))


def cancel_order(text: str, named: str, signature: requests.Signature | None) -> Result:
    command = requests.cancel_of(text, trader(named, signature))
    entry = _cancelling(command, signature)
    if the_gateway().desk.is_pending(command.order) and _withdraw(command):
        return Result(withdrawn_json(command.order), True)
    return _change(entry)


def _signature() -> requests.Signature | None:
    """Of a request whose body, if there is one, has nothing else."""
    if not request.get_data():
        return None
    return requests.parse(requests.Authority, body()).signature


@blueprint.delete("/orders")
def cancel_all() -> Response:
    asked = {key: request.args[key] for key in ("account", "market", "side") if key in request.args}
    wish = requests.parse(requests.Withdrawal, asked)
    signature = _signature()
    command = requests.cancel_all_of(wish, trader(wish.account, signature))
    return _answer(_change(_cancelling(command, signature)))


def _cancelling(command: Cancel | CancelAll, signature: requests.Signature | None) -> Entry:
    access = the_gateway().access
    is_operator = access.is_operator(access.of_request())
    return cancelling(command, signature, the_gateway().mesh_id, is_operator)


def _withdraw(command: Cancel) -> bool:
    """Take back an order that no other peer has seen. False: it must be cancelled instead."""
    gateway = the_gateway()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    gateway.desk.withdraw(command.account, command.order, answers.put)
    try:
        return answers.get(timeout=gateway.config.order_timeout)
    except queue.Empty:
        return False


def _change(command: Entry) -> Result:
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


def _submit(commands: Sequence[Entry]) -> Submission:
    """Send commands and wait for the end of them, but no longer than the timeout; while many wait
    already, only until they are on disk here, so that some threads are always free."""
    gateway = the_gateway()
    gateway.access.admit(commands, address())
    for name in dict.fromkeys(command.account for command in commands):
        if not name.startswith(KEY_PREFIX):  # anybody can make any number of those
            gateway.watch_account(name)
    submission = gateway.desk.submit(commands, address())
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
