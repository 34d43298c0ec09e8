"""The cost of questions about the past, and the refusals."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.history_reader import History
from tests.fuzz.web_targets import served
from tests.support.web_gateway import Gateway, buy, lone_peer, running_gateway, sell, wait_for
from web.app import create_app
from web.auth.history_access import (
    ADDRESS_WAITING_MAX,
    READ_MS_BURST,
    READ_MS_RATE,
    READERS_MAX,
    WAITING_MAX,
    LimitedHistory,
    Readers,
)
from web.auth.keys import Scope
from web.contract.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_each_address_has_its_share_of_the_time() -> None:
    clock = Clock()
    readers = Readers(clock)

    def slow() -> str:
        clock.now_s += 1.5
        return "answer"

    for _ in range(2):
        assert readers.read("one", slow) == "answer"
    with pytest.raises(Problem) as refused:
        readers.read("one", slow)
    assert refused.value.status == 429
    owed_ms = 3_000 - READ_MS_BURST - 1_500 * READ_MS_RATE / 1_000
    assert refused.value.more["retry_after"] <= owed_ms / READ_MS_RATE + 1
    assert readers.read("another", lambda: "answer") == "answer"
    clock.now_s += refused.value.more["retry_after"]
    assert readers.read("one", lambda: "answer") == "answer"


def test_a_question_that_fails_costs_its_time_and_leaves_room() -> None:
    clock = Clock()
    readers = Readers(clock)

    def failing() -> None:
        clock.now_s += 9
        raise LookupError

    with pytest.raises(LookupError):
        readers.read("one", failing)
    with pytest.raises(Problem):
        readers.read("one", lambda: None)
    for n in range(2 * READERS_MAX):
        with pytest.raises(LookupError):
            readers.read(f"of {n}", failing)
    assert readers.read("another", lambda: 1) == 1


def test_few_clients_read_at_a_time_and_others_get_an_error() -> None:
    readers, go_on, begun = Readers(), threading.Event(), threading.Semaphore(0)
    outcomes: list[object] = []

    def read() -> None:
        begun.release()
        go_on.wait(20)

    def ask(n: int) -> None:
        try:
            readers.read(f"address {n}", read)
        except Problem as problem:
            outcomes.append(problem.status)
        else:
            outcomes.append("answered")

    threads = [
        threading.Thread(target=ask, args=(n,)) for n in range(READERS_MAX + WAITING_MAX + 20)
    ]
    for thread in threads:
        thread.start()
    for _ in range(READERS_MAX):
        assert begun.acquire(timeout=20)
    wait_for("the others", lambda: len(outcomes) == WAITING_MAX + 20)
    assert outcomes == [503] * (WAITING_MAX + 20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert outcomes.count("answered") == READERS_MAX


def test_one_address_leaves_room_for_others_to_read() -> None:
    readers, go_on, begun = Readers(), threading.Event(), threading.Semaphore(0)
    statuses: list[int] = []

    def read() -> None:
        begun.release()
        go_on.wait(20)

    def ask() -> None:
        try:
            readers.read("one", read)
        except Problem as problem:
            statuses.append(problem.status)

    threads = [threading.Thread(target=ask) for _ in range(ADDRESS_WAITING_MAX + 3)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=20)
    assert readers.read("another", lambda: "answer") == "answer"
    wait_for("the others", lambda: len(statuses) == ADDRESS_WAITING_MAX + 2)
    assert sorted(statuses) == [429, 429] + [503] * ADDRESS_WAITING_MAX
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert not readers._reading
    assert not readers._waiting


def test_the_cost_of_candles_includes_encoding_them() -> None:
    """Even if the journal is not read for them."""

    class Slow(Clock):
        def __call__(self) -> float:
            self.now_s += 0.5
            return self.now_s

    gateway = served(is_live=False).gateway
    before, gateway.readers = gateway.readers, Readers(Slow())
    try:
        client = create_app(gateway.config, gateway).test_client()
        asked = [client.get("/candles", base_url="http://localhost") for _ in range(9)]
    finally:
        gateway.readers = before
    assert 429 in [answer.status_code for answer in asked]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A gateway that was started after all these events."""
    folder = tmp_path_factory.mktemp("past")
    with lone_peer(folder) as data:
        with running_gateway(data) as first:
            first.wait_ready()
            first.order(**sell("100", "3", "ann"))
            first.order(**buy("100", "1", "bob"))
            first.order(**buy("9", "1", "bob", tif="ioc"))
        with running_gateway(data) as second:
            yield second.wait_ready(), data / JOURNAL_FILE


def test_an_order_is_found_for_a_client_that_may_see_it(journal: tuple[Gateway, Path]) -> None:
    web, path = journal
    history = History(path)
    assert [history.owner(n * 256) for n in range(1, 5)] == ["ann", "bob", "bob", ""]
    history.close()

    def ask(name: str, bearer: str) -> int:
        return web.ask("GET", f"/orders/{name}", None, {"Authorization": bearer}).status

    ann = f"Bearer {web.keys.create('ann', [Scope.READ])}"
    eve = f"Bearer {web.keys.create('eve', [Scope.TRADE])}"
    assert [ask(name, "") for name in ("1-1", "1-2", "1-9")] == [401] * 3
    assert [ask(name, eve) for name in ("1-1", "1-2", "1-9")] == [404] * 3
    assert [ask(name, ann) for name in ("1-1", "1-2", "1-9")] == [200, 404, 404]
    assert [ask(name, web.bearer) for name in ("1-1", "1-2", "1-3", "1-9")] == [200, 200, 200, 404]


def test_an_order_is_not_read_for_a_client_that_may_not_see_it(
    journal: tuple[Gateway, Path],
) -> None:
    """An order can have thousands of pieces."""
    asked: list[str] = []

    class Noting(History):
        def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
            asked.append(query)
            return super()._ask(query, values)

    history = Noting(journal[1])
    assert LimitedHistory(history, Readers(), "here").owner(256) == "ann"
    history.close()
    assert not any("touched_soon" in query for query in asked)
    assert len(asked) < 10, "the search for the segment halves its range each time"
