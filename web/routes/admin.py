"""The routes of the peer's operator: which accounts have most orders, and which are barred.

Owns their paths. Must never answer a caller without the scope `admin`.
"""

from peer.client import protocol
from peer.replica.signed import KEY_PREFIX
from web.auth.keys import Keys, KeysError
from web.contract import requests
from web.contract.openapi import EVERYWHERE
from web.contract.problems import Problem
from web.contract.responses import Account, Accounts, Barred
from web.routes.operations import Routes
from web.routes.request import from_node, needs_operator, query, the_gateway

routes = Routes("admin")


def _operators_keys() -> Keys:
    """The key file, which lists barred accounts. Problem unless the caller is an operator."""
    needs_operator()
    keys = the_gateway().access.keys
    assert keys is not None, "an operator has a key"
    return keys


@routes.operation("get", "/accounts", Accounts, (*EVERYWHERE, 403, 503), requests.AccountsQuery)
def accounts() -> Accounts:
    """The accounts with most open orders; for the peer's operator."""
    keys, asked = _operators_keys(), query(requests.AccountsQuery)
    reply = from_node(protocol.GetAccounts(asked.limit), protocol.Accounts)
    barred = set(keys.barred())
    rows = [
        Account(name, orders, name.startswith(KEY_PREFIX), name in barred)
        for name, orders in reply.accounts
    ]
    return Accounts(rows, sorted(barred))


@routes.operation("put", "/barred", Barred, (*EVERYWHERE, 403), requests.OfAccount)
def bar() -> Barred:
    """Bar an account from trading at this peer; for the peer's operator."""
    keys, name = _operators_keys(), query(requests.OfAccount).account
    try:
        keys.bar(name)
    except KeysError as error:
        raise Problem(400, f"{error}.".capitalize(), "invalid", "account") from None
    return Barred(name, True)


@routes.operation("delete", "/barred", Barred, (*EVERYWHERE, 403), requests.OfAccount)
def unbar() -> Barred:
    """Let an account trade again; for the peer's operator."""
    keys, name = _operators_keys(), query(requests.OfAccount).account
    keys.unbar(name)
    return Barred(name, False)
