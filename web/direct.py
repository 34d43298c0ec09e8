"""New orders of programs, answered without a thread: `POST /order` and `POST /orders`.

Owns the short way of such a request: the main thread reads and submits it, and the thread of the
node's answer writes the response. A hundred clients that wait then cost no threads, and an order
passes between threads twice instead of six times. It takes a request only if that is plain: of a
program, not of a page or through a proxy, with an API key that was proven before. All others go
through the routes, which give the same answers. Must never wait.
"""

import logging
import time
from collections import deque
from functools import lru_cache
from http import HTTPStatus

import msgspec
from flask import Response
from waitress.utilities import build_http_date

from web.app import problem_response, secured
from web.auth.keys import Credential
from web.commands import Commands
from web.config import BODY_BYTES_MAX, Config
from web.contract import requests
from web.contract.problems import Problem
from web.contract.responses import Batch
from web.gateway import Gateway
from web.market_data.pending_requests import Submission
from web.routes.metrics import Metrics
from web.routes.operations import answer
from web.routes.orders import status_of
from web.serve.connections import Channel
from web.serve.origin import answers_to, place_of
from web.serve.request_parser import Parser

PATHS = ("/order", "/orders")
PLAIN = {  # headers that change nothing here; with another, a thread answers
    "ACCEPT",
    "ACCEPT_ENCODING",
    "AUTHORIZATION",
    "CONNECTION",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HOST",
    "USER_AGENT",
}
HOSTS_MAX = 100  # names of this gateway whose check is remembered

log = logging.getLogger(__name__)


class _Order:
    """A request that waits for the node. `who` and `where` make it a Caller."""

    def __init__(self, channel: Channel, credential: Credential, is_many: bool) -> None:
        self.channel = channel
        self.credential = credential
        self.address = channel.name
        self.is_many = is_many
        self.submission: Submission | None = None  # once the node has it
        self.deadline = 0.0
        self._turns = [None]  # for the one that answers

    @property
    def is_answered(self) -> bool:
        return not self._turns

    def begin_answer(self) -> bool:
        """Whether the caller is the one to answer. Thread-safe."""
        try:
            self._turns.pop()
        except IndexError:
            return False
        return True


class DirectOrders:
    """The main thread calls `wants`, `take` and `expire`."""

    def __init__(self, config: Config, gateway: Gateway, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._seconds = config.order_timeout
        self._has_proxies = bool(config.proxies)
        self._waiting: deque[_Order] = deque()  # by their deadlines

        @lru_cache(HOSTS_MAX)
        def is_own(host: str) -> bool:
            place = place_of(host)
            return place is not None and answers_to(place.name, config)

        self._is_own = is_own

    def wants(self, request: Parser) -> bool:
        return (
            not request.error  # else it may have nothing that follows
            and request.command == "POST"
            and request.path in PATHS
            and not (request.query or self._has_proxies)
            and request.version == "1.1"
            and request.headers.keys() <= PLAIN
            and request.headers.get("CONNECTION", "keep-alive").lower() == "keep-alive"
            and "AUTHORIZATION" in request.headers
        )

    def take(self, request: Parser, channel: Channel) -> bool:
        access = self._gateway.access
        credential = access.proven(request.headers["AUTHORIZATION"])
        stream = request.get_body_stream()
        is_small = int(request.headers.get("CONTENT_LENGTH", 0)) <= BODY_BYTES_MAX
        if credential is None or not (is_small and self._is_own(request.headers["HOST"])):
            return False
        order = _Order(channel, credential, request.path == "/orders")
        try:
            access.pace(order.address)
            order.submission = self._submit(order, stream.read())
        except Exception as error:
            if isinstance(error, Problem) and error.status == 401:  # the key was revoked
                stream.seek(0)
                return False
            if order.begin_answer():
                self._send(order, *_failed(error))
            return True
        order.deadline = time.monotonic() + self._seconds
        self._waiting.append(order)
        return True

    def _submit(self, order: _Order, body: bytes) -> Submission:
        commands = Commands(self._gateway, order, lambda found: self._note(order, found))
        data = requests.parse_json(body)
        if not order.is_many:
            return commands.place(requests.parse(requests.NewOrder, data))
        return commands.place_many(
            requests.parse(requests.NewOrder, one) for one in requests.orders_of(data)
        )

    def _note(self, order: _Order, submission: Submission) -> None:
        if submission.is_complete and order.begin_answer():
            self._answer(order, submission)

    def expire(self, now: float) -> float:
        """Answer requests that have waited long enough with what is known. Returns the seconds
        until the next one has."""
        while self._waiting:
            order = self._waiting[0]
            if not order.is_answered and order.deadline > now:
                return order.deadline - now
            self._waiting.popleft()
            if order.submission is not None and order.begin_answer():
                self._answer(order, order.submission)
        return self._seconds

    def _answer(self, order: _Order, submission: Submission) -> None:
        commands = Commands(self._gateway, order)
        try:
            if order.is_many:
                results = commands.results_now(submission)
                status, body = status_of(*results), msgspec.json.encode(Batch(results))
            else:
                result = commands.result_now(submission)
                status, body = status_of(result), msgspec.json.encode(result)
        except Exception as error:
            self._send(order, *_failed(error))
        else:
            self._send(order, status, _head(status), body)

    def _send(self, order: _Order, status: int, head: bytes, body: bytes) -> None:
        self._metrics.answered(status)
        date = _date(int(time.time()))
        order.channel.answer(
            b"%sContent-Length: %d\r\nDate: %s\r\n\r\n%s" % (head, len(body), date, body)
        )


def _failed(error: Exception) -> tuple[int, bytes, bytes]:
    """Status, head and body for an error; one that is no Problem is a bug of ours."""
    if not isinstance(error, Problem):
        log.error("a request failed", exc_info=error)
        error = Problem(500, "The gateway failed; its log says why.", "failed")
    response = problem_response(error)
    return response.status_code, _bytes(response), response.get_data()


@lru_cache(1)
def _date(now: int) -> bytes:
    return str(build_http_date(now)).encode()


@lru_cache
def _head(status: int) -> bytes:
    """The head of a result."""
    return _bytes(answer({}, status))


def _bytes(response: Response) -> bytes:
    """The status line and the headers of a response, without its length and date."""
    status = HTTPStatus(response.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    headers = secured(response).headers
    lines += [f"{name}: {value}" for name, value in headers if name != "Content-Length"]
    return "\r\n".join([*lines, ""]).encode("latin-1")
