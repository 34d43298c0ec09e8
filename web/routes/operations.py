"""How a route declares its operation: what it takes, what it answers, and which problems.

Owns the one way from a route to the API's document and from its answer to a response, so that
neither can say anything else.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response

from web.contract.openapi import EVERYWHERE, Operation, choices

Answer = msgspec.Struct | Sequence[msgspec.Struct] | tuple[msgspec.Struct, int]
View = Callable[..., Answer | Response]  # with a status other than 200 as a pair


class Routes(Blueprint):
    """A blueprint of which every route is an operation of the API."""

    def __init__(self, name: str) -> None:
        super().__init__(name, __name__)
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        answers: Any,
        problems: tuple[int, ...] = (*EVERYWHERE, 503),
        query: type[msgspec.Struct] | None = None,
        body: Any = None,
    ) -> Callable[[View], View]:
        """Declare a view's operation. `answers` are types by status, or the one of 200; the first
        line of the view's documentation is the summary."""

        def declare(view: View) -> View:
            summary = (view.__doc__ or "").partition("\n")[0].rstrip(".")
            kinds = answers if isinstance(answers, dict) else {200: answers}
            operation = Operation(method, path, summary, kinds, problems, query, body)
            self.operations.append(operation)
            shown = _answering(view, kinds)
            self.add_url_rule(path.replace("{id}", "<text>"), None, shown, methods=[method.upper()])
            return view

        return declare


def _answering(view: View, answers: dict[int, Any]) -> Callable[..., Response]:
    @functools.wraps(view)
    def respond(**parts: str) -> Response:
        found = view(**parts)
        if isinstance(found, Response):
            return found
        shown, status = found if isinstance(found, tuple) else (found, 200)
        assert not isinstance(shown, msgspec.Struct) or type(shown) in choices(answers[status])
        return answer(shown, status)

    return respond


def answer(view: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(view), status, content_type="application/json")
