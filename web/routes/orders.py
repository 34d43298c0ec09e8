"""The routes that trade: place, change and cancel orders, and ask what became of them.

Owns their paths. What is asked is read here and done by `commands`.
"""

from dataclasses import replace

import msgspec
from flask import Blueprint, Response, request

from engine import Submit
from peer.replica.order_state import FINAL, OrderView, Status, submitted
from web import queries
from web.auth.history_access import Asked
from web.auth.keys import Scope
from web.contract import requests, views
from web.contract.problems import Problem
from web.market_data.pending_requests import Submission
from web.routes.request import (
    CALLER,
    Json,
    account,
    answer,
    body,
    commands,
    for_account,
    query,
    the_gateway,
    the_past,
)

blueprint = Blueprint("trading", __name__)
ORDERS_SECONDS = 1.0  # an account's orders are waited for so long


@blueprint.post("/order")
def place() -> Response:
    return _answer(commands().place(CALLER, for_account(requests.parse(requests.NewOrder, body()))))


@blueprint.post("/orders")
def place_many() -> Response:
    """Several orders, in order and right behind one another; if one is not valid, none is sent."""
    orders = requests.orders_of(body())
    submission = commands().place_many(
        CALLER, (for_account(requests.parse(requests.NewOrder, order)) for order in orders)
    )
    commands().wait(submission)
    results = [commands().answer(submission, index) for index in range(len(orders))]
    return answer({"results": results}, _status(submission))


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
    wanted = for_account(requests.parse(requests.Change, body()))
    return _answer(commands().change(CALLER, text, wanted, seconds=ORDERS_SECONDS))


@blueprint.delete("/order/<text>")
def cancel(text: str) -> Response:
    wanted = requests.CancelOrder(text, signature=_signature())
    return _answer(commands().cancel(CALLER, for_account(wanted)))


@blueprint.delete("/orders")
def cancel_all() -> Response:
    asked = {key: request.args[key] for key in ("account", "market", "side") if key in request.args}
    wanted = requests.parse(requests.Withdrawal, asked)
    wanted = msgspec.structs.replace(wanted, signature=_signature())
    return _answer(commands().cancel_all(CALLER, wanted))


def _signature() -> requests.Signature | None:
    """Of a request whose body, if there is one, has nothing else."""
    if not request.get_data():
        return None
    return requests.parse(requests.Authority, body()).signature


def _answer(submission: Submission) -> Response:
    """What became of one command, once that is known."""
    commands().wait(submission)
    return answer(commands().answer(submission), _status(submission))


def _status(submission: Submission) -> int:
    return 200 if submission.is_complete else 202
