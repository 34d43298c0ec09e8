"""Results of orders with a client id, for callers that send one again.

Owns the last results, of the orders of all members, and who waits for one. Must never judge whether
an order was sent before: the replicated state does.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from peer.client.programs import Caller
from peer.client.protocol import Done, Refused, Result, format_id

RESULTS_KEPT = 10_000


class _Asked(NamedTuple):
    """A caller asks for the result of the order `first`. It knows the order as `id`."""

    caller: Caller
    id: int
    first: int


class NamedResults:
    def __init__(self) -> None:
        self._results: OrderedDict[int, Done] = OrderedDict()  # each of one order, by its id
        self._asked: list[_Asked] = []

    def keep(self, done: Done) -> None:
        """The result of one order with a client id."""
        self._results[done.results[0].id] = done
        if len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)

    def ask(self, callers: Iterable[Caller], id_: int, first: int) -> None:
        """These callers know an order as `id_`; its result is that of `first`."""
        self._asked += [_Asked(caller, id_, first) for caller in callers]

    def told(self) -> list[tuple[Caller, Done | Refused]]:
        """What to answer those who asked since the last call."""
        told = [(asked.caller, self._answer(asked)) for asked in self._asked]
        self._asked.clear()
        return told

    def _answer(self, asked: _Asked) -> Done | Refused:
        found = self._results.get(asked.first)
        if found is None:
            text = (
                f"{format_id(asked.first)} was ordered earlier, or too many callers wait for its "
                "result: query the state of the order"
            )
            return Refused("result_lost", text)
        if asked.first == asked.id:
            return found
        [result] = found.results
        theirs = Result(asked.id, result.events, result.trades, asked.first)
        return Done(found.commit, found.time_ms, [theirs])
