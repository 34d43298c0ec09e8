"""The routes that only read: books, trades, candles, markets, mesh, the gateway's health.

Owns their paths. Reads the mirrors under their lock; must never wait for the node.
"""

import time

from flask import Response, current_app
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from web import queries
from web.auth.access import address
from web.contract import requests
from web.contract.market_responses import (
    BookOfPeers,
    Candle,
    Candles,
    Market,
    Mesh,
    State,
    Ticker,
    Trade,
    Trades,
)
from web.contract.openapi import MARKET
from web.contract.problems import Problem
from web.contract.responses import Health, Reason
from web.routes.operations import Routes, answer
from web.routes.request import query, ready_book, the_gateway, the_past

routes = Routes("market")


@routes.operation("get", "/state", State, MARKET, requests.StateQuery)
def state() -> State:
    """Book, trades and mesh of one moment."""
    asked = query(requests.StateQuery)
    of, mirrors = the_gateway().units(asked.market), the_gateway().mirrors
    with mirrors.lock:
        return State.whole(ready_book(of), asked.depth, mirrors)


@routes.operation("get", "/book", BookOfPeers, MARKET, requests.BookQuery)
def book() -> BookOfPeers:
    """The levels, merged on request.

    With `group`, levels are merged into price steps: bids are rounded down, asks up."""
    return levels_of(query(requests.BookQuery))


def levels_of(asked: requests.BookQuery) -> BookOfPeers:
    of = the_gateway().units(asked.market)
    group = requests.group_of(asked.group, of)
    with the_gateway().mirrors.lock:
        return BookOfPeers.grouped(ready_book(of), asked.depth, group, bool(asked.peers))


@routes.operation("get", "/trades", Trades, MARKET, requests.TradesQuery)
def trades() -> Trades:
    """Trades, newest first."""
    return trades_of(query(requests.TradesQuery))


def trades_of(asked: requests.TradesQuery) -> Trades:
    gateway = the_gateway()
    of = gateway.units(asked.market)
    with gateway.mirrors.lock:
        recent = list(ready_book(of).trades)
    found = queries.trades(the_past(), of, recent, asked.before, asked.limit)
    missed = queries.missed(found, asked.before, asked.limit, recent[0].number if recent else 0)
    return Trades(of.market.symbol, [Trade.of(trade, of) for trade in found], missed)


@routes.operation("get", "/candles", Candles, MARKET, requests.CandlesQuery)
def candles() -> Response:
    """Candles, oldest first.

    To encode them takes longer than to read them, so the limits cover both."""
    asked = query(requests.CandlesQuery)
    return the_gateway().readers.read(address(), lambda: answer(_candles_of(asked)))


def _candles_of(asked: requests.CandlesQuery) -> Candles:
    gateway = the_gateway()
    of = gateway.units(asked.market)
    with gateway.mirrors.lock:
        kept = ready_book(of).candles
    found = queries.candles(gateway.history, gateway.mirrors, of, kept, asked)
    shown = [Candle.of(candle, of) for candle in found]
    return Candles(of.market.symbol, asked.interval, kept.missed, shown)


@routes.operation("get", "/ticker", Ticker, MARKET, requests.OfMarket)
def ticker() -> Ticker:
    """Best prices, last trade, last 24 hours."""
    gateway = the_gateway()
    of = gateway.units(query(requests.OfMarket).market)
    with gateway.mirrors.lock:
        book = ready_book(of)
    with gateway.mirrors.lock:
        return Ticker.of(book, time.time_ns() // 1_000_000)


@routes.operation("get", "/markets", list[Market])
def markets() -> list[Market]:
    """The markets and their limits."""
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        return [Market.of(book) for book in mirrors.books.values()]


@routes.operation("get", "/mesh", Mesh)
def mesh() -> Mesh:
    """The mesh and its members."""
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        if mirrors.mesh is None:
            raise Problem(503, "This peer is starting: the mesh is not known yet.", "starting")
        return Mesh.of(mirrors.mesh, mirrors.state)


@routes.operation("get", "/healthz", Health)
def healthz() -> Health:
    """Whether the gateway works."""
    return Health("ok")


@routes.operation("get", "/readyz", Health)
def readyz() -> Health:
    """Whether an order sent now would be ordered: `ready`, or `follower` for a signed order, which
    this peer forwards.

    If not, all reasons, the worst first."""
    if reasons := the_gateway().unready():
        listed = [Reason(reason.code, reason.text) for reason in reasons]
        raise Problem(503, listed[0].detail, listed[0].code, reasons=listed)
    return Health("ready" if the_gateway().is_of_a_member else "follower")


@routes.operation("get", "/metrics", "text/plain")
def metrics() -> Response:
    """Metrics for Prometheus."""
    return Response(current_app.extensions["metrics"].text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
