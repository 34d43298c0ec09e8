"""The routes that only read: books, trades, candles, markets, mesh, the gateway itself.

Owns their paths. Reads mirrors under their lock; must never wait for the node.
"""

import time

from flask import Blueprint, Response, current_app
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from engine import Market
from web import queries
from web.auth.access import address
from web.contract import requests, views
from web.contract.problems import Problem
from web.market_data.mirrors import Mirrors
from web.routes.request import Json, answer, query, ready_book, the_gateway, the_past

blueprint = Blueprint("reading", __name__)


@blueprint.get("/state")
def state() -> Response:
    """Everything at once: book, trades, commit, digest, peers."""
    asked = query(requests.StateQuery)
    of, mirrors = the_gateway().units(asked.market), the_gateway().mirrors
    with mirrors.lock:
        book = ready_book(of)
        view = views.book_json(book, asked.depth)
        view |= {
            "tick": of.market.tick,
            "lot": of.market.lot,
            "trades": views.trades_json(book.trades, of),
            "state": mirrors.state,
        }
        view |= _mesh_part(mirrors)
    return answer(view)


# What `/state` has of its own, of the same moment as the book.
_OTHERS_OF_MESH = frozenset({"commit", "digest"})


def _mesh_part(mirrors: Mirrors) -> Json:
    if mirrors.mesh is None:
        return {"peer": mirrors.peer, "quorum": False, "pending": 0, "peers": []}
    view = views.mesh_json(mirrors.mesh)
    return {key: value for key, value in view.items() if key not in _OTHERS_OF_MESH}


@blueprint.get("/book")
def book() -> Response:
    """Levels alone, on request merged into steps of `group`: bids down, asks up; and on request
    with the peers that took their orders."""
    return answer(levels_of(query(requests.BookQuery)))


def levels_of(asked: requests.BookQuery) -> Json:
    of, depth = the_gateway().units(asked.market), asked.depth
    group = requests.group_of(asked.group, of)
    with the_gateway().mirrors.lock:
        mirror = ready_book(of)
        view = views.book_json(mirror, depth)
        if group > 1 or asked.peers:
            view |= views.grouped_json(mirror, depth, group, bool(asked.peers))
    return view


@blueprint.get("/trades")
def trades() -> Response:
    return answer(trades_of(query(requests.TradesQuery)))


def trades_of(asked: requests.TradesQuery) -> Json:
    gateway = the_gateway()
    of = gateway.units(asked.market)
    with gateway.mirrors.lock:
        recent = list(ready_book(of).trades)
    found = queries.trades(the_past(), of, recent, asked.before, asked.limit)
    missed = queries.missed(found, asked.before, asked.limit, recent[0].number if recent else 0)
    return {
        "market": of.market.symbol,
        "trades": views.trades_json(found, of),
        "missed": missed,
    }


@blueprint.get("/candles")
def candles() -> Response:
    """To write them out takes longer than to read them, wherever they come from."""
    asked = query(requests.CandlesQuery)
    return the_gateway().readers.read(address(), lambda: answer(_candles_of(asked)))


def _candles_of(asked: requests.CandlesQuery) -> Json:
    gateway = the_gateway()
    of = gateway.units(asked.market)
    with gateway.mirrors.lock:
        kept = ready_book(of).candles
    found = queries.candles(gateway.history, gateway.mirrors, of, kept, asked)
    view = {"market": of.market.symbol, "interval": asked.interval, "missed": kept.missed}
    return view | {"candles": [views.candle_json(candle, of) for candle in found]}


@blueprint.get("/ticker")
def ticker() -> Response:
    gateway = the_gateway()
    of = gateway.units(query(requests.OfMarket).market)
    with gateway.mirrors.lock:
        book = ready_book(of)
    with gateway.mirrors.lock:
        return answer(views.ticker_json(book, time.time_ns() // 1_000_000))


@blueprint.get("/markets")
def markets() -> Response:
    return answer([views.market_json(market) for market in _markets(the_gateway().mirrors)])


def _markets(mirrors: Mirrors) -> list[Market]:
    with mirrors.lock:
        return [book.units.market for book in mirrors.books.values()]


@blueprint.get("/mesh")
def mesh() -> Response:
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        if mirrors.mesh is None:
            raise Problem(503, "This peer is starting: the mesh is not known yet.", "starting")
        return answer({"state": mirrors.state} | views.mesh_json(mirrors.mesh))


@blueprint.get("/healthz")
def healthz() -> Response:
    """The gateway itself works."""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Orders sent here now would be ordered; else every reason why not, the worst first."""
    reasons = the_gateway().unready()
    if reasons:
        listed = [{"code": reason.code, "detail": reason.text} for reason in reasons]
        raise Problem(503, reasons[0].text, reasons[0].code, reasons=listed)
    return answer({"status": "ready"})


@blueprint.get("/metrics")
def metrics() -> Response:
    return Response(current_app.extensions["metrics"].text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
