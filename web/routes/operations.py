"""How a route declares its operation: its requests, its responses and its problems.

Owns the one way from a route to the API's document, and from its answer to the response, so that
the two agree.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response

from web.contract.openapi import EVERYWHERE, Operation, choices

Answer = msgspec.Struct | Sequence[msgspec.Struct] | tuple[msgspec.Struct, int]
View = Callable[..., Answer | Response]  # a pair sets a status other than 200


class Routes(Blueprint):
    """A blueprint whose routes are operations of the API."""

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
        """Declare the operation of a view. `answers` maps statuses to types, or is the type for
        200. The first line of the view's docstring is the summary."""

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
