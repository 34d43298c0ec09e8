"""The one shape of an error, over HTTP and WebSocket: RFC 9457 problem details.

Owns the statuses and the texts. Each error gives a reason that a person understands.
"""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from engine import Reason
from peer.client.protocol import Refused, format_id
from web.contract import responses

TITLES = {
    400: "The request is not valid",
    401: "This needs a key",
    403: "This is not allowed",
    404: "There is no such thing here",
    405: "This method is not possible here",
    409: "This is not possible now",
    413: "The request is too large",
    415: "The request must be JSON",
    421: "This peer does not answer to that name",
    429: "Too many requests",
    431: "The head of the request is too large",
    500: "The gateway failed",
    503: "This peer can't do it now",
    504: "It is not known whether this was done",
}

REFUSALS = {
    "busy": 503,
    "too_many_pending": 429,
    "invalid": 400,
    "not_member": 503,
    "halted": 503,
    "stopping": 503,
    "unknown": 404,
    "other_order": 409,
    "impossible": 409,
    "result_lost": 504,  # the command was taken; only its result is unknown
    "unknown_outcome": 504,
}

# The status for a rejected change, where the request itself has failed. (A rejected new order is a
# result: it has been ordered and is final.)
REJECTIONS = {
    Reason.UNKNOWN_ORDER: 404,
    Reason.UNKNOWN_MARKET: 404,
    Reason.UNKNOWN_PROPOSAL: 404,
    Reason.NOT_OWNER: 404,  # reported as UNKNOWN_ORDER
    Reason.INVALID_QUANTITY: 400,
    Reason.INVALID_PRICE: 400,
    Reason.NOT_SIGNED: 403,
    Reason.BAD_SIGNATURE: 403,
    Reason.TOO_MANY_KEYS: 503,
    Reason.SHARE_FULL: 503,
}


class Problem(Exception):
    """Ends a request with an error. `field` is the invalid part of the request, `more` has further
    fields of the response."""

    def __init__(
        self, status: int, detail: str, code: str = "", field: str = "", **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.field = field
        self.more = more

    @property
    def view(self) -> responses.Problem:
        return responses.Problem(
            type=f"urn:p2p-orderbook:{self.code}" if self.code else "about:blank",
            title=TITLES.get(self.status, "The request failed"),
            status=self.status,
            detail=self.detail,
            field=self.field or UNSET,
            **self.more,
        )


def too_many(seconds: float, what: str, code: str = "rate") -> Problem:
    """There were too many of `what`; the client must wait `seconds`."""
    wait = math.ceil(seconds)
    return Problem(429, f"Too many {what}: wait {wait} s.", code, retry_after=wait)


def refused(reply: Refused, ids: Sequence[int] = ()) -> Problem:
    """The problem for a refusal. `ids` are those of commands that the node had taken already."""
    more: dict[str, Any] = {"ids": [format_id(number) for number in ids]} if ids else {}
    if reason := Reason.__members__.get(reply.code.upper()):
        return rejected(reason, **more)
    return Problem(REFUSALS.get(reply.code, 503), reply.reason, reply.code, **more)


def rejected(reason: Reason, **more: Any) -> Problem:
    name, words = responses.explain(reason)
    return Problem(REJECTIONS.get(reason, 409), words, name, reason=name, **more)
