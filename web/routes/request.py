"""What every HTTP route needs: the gateway, the caller, and the request within its limits."""

import queue
from typing import Any, TypeVar

import msgspec
from flask import current_app, request
from msgspec.structs import replace

from peer.client import protocol
from peer.client.units import Units
from web.auth.access import address
from web.auth.history_access import LimitedHistory
from web.auth.keys import Credential, Scope
from web.commands import Commands
from web.contract import requests
from web.contract.problems import Problem
from web.gateway import Gateway
from web.market_data.book_mirror import BookMirror
from web.serve.page_files import PageFiles

Json = dict[str, Any]
T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R", bound=protocol.Reply)
A = TypeVar("A", requests.NewOrder, requests.Change, requests.Withdrawal, requests.CancelOrder)


NODE_SECONDS = 5.0


def the_gateway() -> Gateway:
    gateway = current_app.extensions["gateway"]
    assert isinstance(gateway, Gateway)
    return gateway


def page_files() -> PageFiles:
    files = current_app.extensions["files"]
    assert isinstance(files, PageFiles)
    return files


def the_past() -> LimitedHistory | None:
    """The journal, within the caller's limits."""
    return the_gateway().past(address())


def body() -> Any:
    """The request's JSON, with exact numbers."""
    return requests.parse_json(request.get_data(cache=False))


def query(kind: type[T]) -> T:
    """The request's query parameters."""
    return requests.query(kind, request.args)


def account(scope: Scope) -> str:
    """The account to act for: the one in the query, else the caller's own. Problem if the caller
    may not act for it."""
    access = the_gateway().access
    return access.account(scope, _named(), access.of_request())


def _named() -> str:
    """The account named in the query, or an empty text."""
    return requests.account_of(request.args.get("account"), "")


def needs_operator() -> None:
    """Problem unless the caller is the peer's operator."""
    access = the_gateway().access
    access.known(access.of_request())
    if not access.is_operator(access.of_request()):
        raise Problem(403, "This is for the peer's operator: it needs the scope admin.", "scope")


def from_node(question: protocol.Request, kind: type[R]) -> R:
    """The node's answer to a question. Problem if none comes in time."""
    replies: queue.SimpleQueue[protocol.Answer] = queue.SimpleQueue()
    the_gateway().link.request(question, replies.put)
    try:
        reply = replies.get(timeout=NODE_SECONDS)
    except queue.Empty:
        reply = None
    if not isinstance(reply, kind):
        raise Problem(503, "This peer's node did not answer.", "unreachable")
    return reply


class _Request:
    """The caller of the current request."""

    @property
    def credential(self) -> Credential | None:
        return the_gateway().access.of_request()

    @property
    def address(self) -> str:
        return address()


def commands() -> Commands:
    """The commands of the current request's caller."""
    return Commands(the_gateway(), _Request())


def for_account(wanted: A) -> A:
    """Set the account from the query, if the request itself names none."""
    named = _named()
    return wanted if wanted.account or not named else replace(wanted, account=named)


def ready_book(of: Units) -> BookMirror:
    """The mirror of a market. Problem until it is filled. Call it under the mirrors' lock."""
    mirror = the_gateway().mirrors.books[of.market.symbol]
    if not mirror.ready:
        raise Problem(503, "This peer is starting: its book is not known yet.", "starting")
    return mirror
