"""The routes that only read: the page, books, trades, candles, markets, mesh, the gateway itself.

Owns their paths. Reads mirrors under their lock; must never wait for the node.
"""

from flask import Blueprint, Response, current_app, request

from engine.orders import Market
from peer.api import TRADES_KEPT
from web import metrics, schema, views
from web.candles import CANDLES_MAX, INTERVALS_SECONDS
from web.http import Json, answer, number, ready_book, the_gateway, units
from web.mirror import DEPTH_MAX
from web.mirrors import Mirrors
from web.problems import Problem

blueprint = Blueprint("reading", __name__)


@blueprint.get("/")
def page() -> Response:
    return current_app.send_static_file("index.html")


@blueprint.get("/state")
def state() -> Response:
    """Everything at once: book, trades, commit, digest, peers."""
    of, depth = units(), number("depth", DEPTH_MAX, DEPTH_MAX)
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        book = ready_book(of)
        view = views.book_json(book, depth)
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
    """Levels alone, on request merged into steps of `group`: bids down, asks up."""
    of, depth = units(), number("depth", 100, DEPTH_MAX)
    group = schema.group_of(request.args.get("group", ""), of)
    with the_gateway().mirrors.lock:
        mirror = ready_book(of)
        view = views.book_json(mirror, depth)
        if group > 1:
            view |= views.grouped_json(mirror, depth, group)
    return answer(view)


@blueprint.get("/trades")
def trades() -> Response:
    of, limit = units(), number("limit", 100, TRADES_KEPT)
    with the_gateway().mirrors.lock:
        newest = list(ready_book(of).trades)[:limit]
    return answer({"market": of.market.symbol, "trades": views.trades_json(newest, of)})


@blueprint.get("/candles")
def candles() -> Response:
    of = units()
    interval = number("interval", 60, max(INTERVALS_SECONDS))
    limit = number("limit", 500, CANDLES_MAX)
    if interval not in INTERVALS_SECONDS:
        text = f"interval is in seconds, one of {', '.join(map(str, INTERVALS_SECONDS))}."
        raise Problem(400, text, "invalid_interval", "interval")
    with the_gateway().mirrors.lock:
        kept = ready_book(of).candles
        found = [views.candle_json(candle, of) for candle in kept.newest(interval, limit)]
        view = {"market": of.market.symbol, "interval": interval, "missed": kept.missed}
    return answer(view | {"candles": found})


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
    """Orders sent here now would be ordered: the node is there and so is a quorum."""
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        if mirrors.state != "live" or mirrors.mesh is None:
            raise Problem(503, f"This peer's node is {mirrors.state}.", mirrors.state)
        if mirrors.mesh.halted:
            raise Problem(503, f"This peer has stopped: {mirrors.mesh.halted}", "halted")
        if not mirrors.mesh.quorum:
            raise Problem(503, "There is no quorum: orders wait.", "no_quorum")
    return answer({"status": "ready"})


@blueprint.get("/metrics")
def metrics_() -> Response:
    text = metrics.text(the_gateway())
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")
