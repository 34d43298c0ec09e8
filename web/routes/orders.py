"""The routes for orders: place, change, cancel and look up.

Owns their paths. Reads the requests; `commands` carries them out.
"""

from dataclasses import replace

import msgspec
from flask import request

from engine import Submit
from peer.client import queue_places
from peer.client.protocol import format_id
from peer.client.queue_places import GetQueue
from peer.replica.order_state import FINAL, OrderView, Status, submitted
from web import queries
from web.auth.history_access import LimitedHistory
from web.auth.keys import Scope
from web.contract import requests
from web.contract.openapi import EVERYWHERE, WRITES
from web.contract.problems import Problem
from web.contract.responses import (
    Batch,
    Cancelled,
    Order,
    Orders,
    Pending,
    Place,
    Queue,
    Result,
    Withdrawn,
)
from web.market_data.pending_requests import Submission
from web.routes.operations import Answer, Routes
from web.routes.request import (
    account,
    body,
    commands,
    for_account,
    from_node,
    query,
    the_gateway,
    the_past,
)

routes = Routes("orders")
ORDERS_SECONDS = 1.0  # longest wait for an account's orders


@routes.operation("post", "/order", {200: Order, 202: Order}, WRITES, body=requests.NewOrder)
def place() -> Answer:
    """Place an order."""
    return _answer(commands().place(for_account(requests.parse(requests.NewOrder, body()))))


@routes.operation("post", "/orders", {200: Batch, 202: Batch}, WRITES, body=requests.NewOrders)
def place_many() -> Answer:
    """Place several orders, without other commands between them."""
    orders = requests.orders_of(body())
    submission = commands().place_many(
        for_account(requests.parse(requests.NewOrder, order)) for order in orders
    )
    commands().wait(submission)
    results = commands().results_now(submission)
    return Batch(results), status_of(*results)


@routes.operation("get", "/orders", Orders, (*EVERYWHERE, 403, 503), requests.OrdersQuery)
def orders() -> Orders:
    """An account's open orders, and its finished ones, last one first.

    With `before`, only finished orders."""
    gateway, name = the_gateway(), account(Scope.READ)
    asked = query(requests.OrdersQuery)
    before = requests.order_id(asked.before) if asked.before else None
    gateway.feed.watch(name)
    with gateway.mirrors.lock:
        mirror = gateway.mirrors.await_orders(name, ORDERS_SECONDS)
        if mirror is None:
            raise Problem(503, "This peer's node did not list the orders in time.", "starting")
        open_ = [] if before else [_view(order) for order in mirror.open.values()]
        recent = [replace(order) for order in reversed(mirror.finished.values())]
    history = the_past()
    ended = queries.finished(history, name, recent, before, asked.limit)
    since = history.orders_since() if history else None
    return Orders(name, open_, [_view(order) for order in ended], since)


@routes.operation("get", "/queue", Queue, (*EVERYWHERE, 403, 503), requests.QueueQuery)
def queue() -> Queue:
    """What stands before an account's open orders."""
    name = account(Scope.READ)
    wanted = requests.order_ids(query(requests.QueueQuery).orders)
    found = from_node(GetQueue(name, wanted), queue_places.Queue)
    places = []
    for place in found.places:
        if (units := the_gateway().mirrors.units(place.market)) is not None:
            lots = units.quantity.text(place.lots)
            id_ = format_id(place.id)
            places.append(Place(id_, place.market, lots, place.orders, place.is_whole))
    return Queue(name, found.commit, places)


@routes.operation("get", "/orders/{id}", Order, (*EVERYWHERE, 403, 404))
def order(text: str) -> Order:
    """One order.

    Checks that the caller may see the order before it reads much."""
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
            return _view(queries.completed(history, found) if history else found)
    raise Problem(404, f"Order {text} is not known here.", "unknown_order", "id")


def _from_past(history: LimitedHistory, wanted: int) -> OrderView | None:
    """An order from the journal; if it is not final there, from the node."""
    found = queries.find_order(history, wanted)
    return found if found is None or found.status in FINAL else _watched(found.account, wanted)


def _watched(account: str, wanted: int) -> OrderView | None:
    """An order that may still be open, from the node."""
    the_gateway().feed.watch(account)
    the_gateway().mirrors.await_orders(account, ORDERS_SECONDS)
    return the_gateway().mirrors.find_order(wanted)


def _recent(wanted: int) -> OrderView | None:
    """An order as the command that placed it left it. It may have changed since."""
    command, outcome = the_gateway().pending.known(wanted) or (None, None)
    if not isinstance(command, Submit):
        return None
    return outcome.order if outcome else submitted(command, wanted)


def _view(order: OrderView) -> Order:
    return Order.of(order, the_gateway().mirrors.units(order.market))


@routes.operation(
    "patch",
    "/order/{id}",
    {200: Order, 202: Pending},
    WRITES,
    requests.OfAccount,
    requests.Change,
)
def change(text: str) -> Answer:
    """Change an order's price or quantity."""
    wanted = for_account(requests.parse(requests.Change, body()))
    return _answer(commands().change(text, wanted, seconds=ORDERS_SECONDS))


@routes.operation(
    "delete",
    "/order/{id}",
    {200: (Order, Withdrawn), 202: Pending},
    WRITES,
    requests.OfAccount,
    requests.Authority,
)
def cancel(text: str) -> Answer:
    """Cancel an order."""
    wanted = requests.CancelOrder(text, signature=_signature())
    return _answer(commands().cancel(for_account(wanted)))


@routes.operation(
    "delete",
    "/orders",
    {200: Cancelled, 202: Pending},
    WRITES,
    requests.WithdrawalQuery,
    requests.Authority,
)
def cancel_all() -> Answer:
    """Cancel all orders of an account."""
    asked = {key: request.args[key] for key in ("account", "market", "side") if key in request.args}
    wanted = requests.parse(requests.Withdrawal, asked)
    wanted = msgspec.structs.replace(wanted, signature=_signature())
    return _answer(commands().cancel_all(wanted))


def _signature() -> requests.Signature | None:
    """The signature in a body that has no other field; None without a body."""
    if not request.get_data():
        return None
    return requests.parse(requests.Authority, body()).signature


def _answer(submission: Submission) -> Answer:
    result = commands().result(submission)
    return result, status_of(result)


def status_of(*results: Result) -> int:
    return 202 if any(result.status == Status.PENDING for result in results) else 200
