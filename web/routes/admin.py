"""The routes of the peer's operator: who fills the book, and who may not trade here any more.

Owns their paths. Must never answer anybody without the scope `admin`.
"""

import queue

from flask import Blueprint, Response

from peer.client.protocol import Accounts, GetAccounts, Reply
from peer.replica.signed import KEY_PREFIX
from web.auth.keys import Keys, KeysError
from web.contract import requests
from web.contract.problems import Problem
from web.routes.request import answer, query, the_gateway

blueprint = Blueprint("operating", __name__)
NODE_SECONDS = 5.0


def _operators_keys() -> Keys:
    """The file that says who is barred. Problem unless an operator asks."""
    access = the_gateway().access
    access.known(access.of_request())
    if not access.is_operator(access.of_request()) or access.keys is None:
        raise Problem(403, "This is for who runs this peer: a key with the scope admin.", "scope")
    return access.keys


@blueprint.get("/accounts")
def accounts() -> Response:
    """Those with most open orders in the mesh."""
    keys, asked = _operators_keys(), query(requests.AccountsQuery)
    replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    the_gateway().link.request(GetAccounts(asked.limit), replies.put)
    try:
        reply = replies.get(timeout=NODE_SECONDS)
    except queue.Empty:
        reply = None
    if not isinstance(reply, Accounts):
        raise Problem(503, "This peer's node did not answer.", "unreachable")
    barred = set(keys.barred())
    rows = [
        {
            "account": name,
            "orders": orders,
            "is_key": name.startswith(KEY_PREFIX),
            "barred": name in barred,
        }
        for name, orders in reply.accounts
    ]
    return answer({"accounts": rows, "barred": sorted(barred)})


@blueprint.put("/barred")
def bar() -> Response:
    """From now on an account may cancel its orders here, and no more."""
    keys, name = _operators_keys(), query(requests.OfAccount).account
    try:
        keys.bar(name)
    except KeysError as error:
        raise Problem(400, f"{error}.".capitalize(), "invalid", "account") from None
    return answer({"account": name, "barred": True})


@blueprint.delete("/barred")
def unbar() -> Response:
    """It may trade again."""
    keys, name = _operators_keys(), query(requests.OfAccount).account
    keys.unbar(name)
    return answer({"account": name, "barred": False})
