"""The routes of a browser's session. A one-time link or an account's key opens it.

Owns the session cookie. It is HttpOnly, so no script can read it, and SameSite=Strict, so no other
site can use it.
"""

from flask import Response, request
from msgspec import UNSET

from web.auth.access import address
from web.auth.keys import READER_SECONDS, SESSION_SECONDS, NoRoomError, Principal, Scope
from web.contract import requests
from web.contract.openapi import EVERYWHERE, PUBLIC
from web.contract.problems import Problem
from web.contract.responses import Session
from web.routes.operations import Routes, answer
from web.routes.request import body, page_files, the_gateway

routes = Routes("session")


@routes.operation("get", "/", "text/html", PUBLIC)
def page() -> Response:
    """The page.

    A one-time link leads here too. A GET does not use up the link, since previews and prefetches
    send one. The page sends the token once a person sees it."""
    return page_files().page("index.html")


def _set_cookie(response: Response, session: str, seconds: int) -> None:
    gateway = the_gateway()
    assert gateway.access.keys is not None
    response.set_cookie(
        gateway.access.keys.cookie,
        session,
        max_age=seconds,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure or bool(gateway.config.tls_cert),
    )


@routes.operation("get", "/session", Session)
def session() -> Session:
    """The account for which this key or browser acts."""
    access = the_gateway().access
    return _view(access.who(access.of_request()))


@routes.operation(
    "post", "/session/link", Session, (*EVERYWHERE, 403, 413), body=requests.LinkToken
)
def open_with_link() -> Response:
    """Use a one-time link: the answer sets the session's cookie."""
    access, asked = the_gateway().access, requests.parse(requests.LinkToken, body())
    try:
        session = access.keys.redeem(asked.token) if access.keys else None
    except NoRoomError:
        raise _no_room() from None
    if access.keys is None or session is None:
        raise Problem(403, "This link was used already, or is too old.", "link_used", "token")
    response = answer(_view(access.who(access.keys.of_session(session))))
    _set_cookie(response, session, SESSION_SECONDS)
    return response


@routes.operation(
    "post", "/session", Session, (*EVERYWHERE, 403, 409, 413, 503), body=requests.Statement
)
def open_with_key() -> Response:
    """Read an account's orders with its own key.

    The key has signed a statement that the browser may do so."""
    gateway, statement = the_gateway(), requests.parse(requests.Statement, body())
    if gateway.access.keys is None:
        raise Problem(503, "This gateway keeps no sessions.", "no_sessions")
    credential = gateway.access.of_request()
    gateway.access.check_api_key(credential)
    peer, where = gateway.mirrors.peer or "", address()
    gateway.statements.take(
        statement, gateway.mesh_id, peer, lambda: gateway.access.pace_sessions(where)
    )
    try:
        session = gateway.access.keys.open_reader(statement.account, credential, where)
    except NoRoomError:
        raise _no_room() from None
    if session is None:
        return answer(_view(gateway.access.who(credential)))
    response = answer(Session(statement.account, [Scope.READ]))
    _set_cookie(response, session, READER_SECONDS)
    return response


def _no_room() -> Problem:
    return Problem(503, "Too many sessions are open on this peer.", "too_many_sessions")


@routes.operation("delete", "/session", Session, (401, 403, *PUBLIC))
def logout() -> Response:
    """End this browser's session."""
    access = the_gateway().access
    credential = access.of_request()
    response = answer(_view(None))
    if access.keys is not None and credential is not None:
        access.keys.end(credential)
        response.delete_cookie(access.keys.cookie, httponly=True, samesite="Strict")
    return response


def _view(who: Principal | None) -> Session:
    if who is None:
        return Session(None, [])
    return Session(who.account, sorted(who.scopes), who.reads or UNSET)
