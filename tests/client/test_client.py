"""The Python client with a real node: decimals in, results and streams out."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from engine import Exchange, Market, Side, Submit
from peer import ChangeRejectedError, Client, InvalidInputError, NoAnswerError
from peer.client.protocol import Done, Queued, Reply, Request, Result
from peer.client.records import Book, Order, Trade
from peer.replica.changes import AddMarket, Approve, Change, CloseMarket, Propose
from peer.replica.order_state import Status
from tests.support.real_mesh import MARKETS
from tests.support.web_gateway import lone_peer, stand_in

BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        lone_peer(tmp_path_factory.mktemp("real")) as where,
        Client(where, account="alice") as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "client" in request.fixturenames:
        client: Client = request.getfixturevalue("client")
        for account in ("alice", "bob"):
            client.cancel_all(account=account)


def test_an_order_rests_and_is_then_filled(client: Client) -> None:
    resting = client.sell(BTC, "2", "100.50")
    assert (resting.status, resting.side, resting.type) == (Status.OPEN, "sell", "limit")
    taken = client.buy(BTC, Decimal("0.75"), "101", account="bob", tif="ioc")
    assert (taken.status, taken.filled, taken.is_final) == (Status.FILLED, Decimal("0.75"), True)
    assert [fill[:3] for fill in taken.fills] == [(Decimal("100.50"), Decimal("0.75"), False)]
    assert client.book(BTC).asks == ((Decimal("100.50"), Decimal("1.25"), 1),)
    (trade,) = client.trades(BTC, 1)
    assert trade.taker == taken.id
    assert [(fill.number, fill.time_ms) for fill in taken.fills] == [(trade.number, trade.time_ms)]
    (known,) = client.orders()
    assert (known.id, known.status, known.filled) == (resting.id, "partly_filled", Decimal("0.75"))
    gone = client.cancel(resting.id)
    assert (gone.status, gone.filled, gone.price) == ("cancelled", Decimal("0.75"), 100.50)
    with pytest.raises(ChangeRejectedError) as caught:
        client.cancel(resting.id)
    assert caught.value.reason == "unknown_order"
    assert client.book(BTC).asks == ()


def test_the_prices_decide_the_type_of_an_order(client: Client) -> None:
    client.sell(BTC, 1, 100)
    client.buy(BTC, 1, account="bob")
    assert client.buy(BTC, 1).type == "market"
    assert client.buy(BTC, 1, stop_price=200).type == "stop"
    stop = client.buy(BTC, 1, 210, stop_price="200.00")
    assert (stop.type, stop.stop_price) == ("stop_limit", 200)
    dated = client.buy(BTC, 1, 1, expire="2100-01-01T00:00:00Z")
    assert (dated.tif, dated.expire_ms) == ("gtd", 4_102_444_800_000)


def test_replacing_keeps_the_filled_quantity(client: Client) -> None:
    order = client.buy(ETH, "3", "10.00")
    client.sell(ETH, 1, 10, account="bob")
    smaller = client.replace(order.id, quantity="1.5")
    assert (smaller.filled, smaller.remaining, smaller.price) == (1, Decimal("1.5"), 10)
    moved = client.replace(order.id, price="9.95")
    assert (moved.status, moved.price, moved.remaining) == ("partly_filled", Decimal("9.95"), 1.5)
    with pytest.raises(ChangeRejectedError, match="no such open order"):
        client.replace(order.id, price=9, account="bob")
    assert client.cancel_all(ETH, "sell") == []
    assert client.cancel_all() == [order.id]


def test_a_new_market_needs_no_new_client(client: Client) -> None:
    """A stream of orders has those of the new market too, and its closing."""
    client.markets()
    stream = client.stream("orders", "commit", timeout_s=20)
    vote(client, AddMarket(Market("NEW", "0.5", "1")))
    order = client.buy("NEW", 3, "7.5")
    assert (order.status, order.price) == (Status.OPEN, Decimal("7.5"))
    vote(client, CloseMarket("NEW"))
    seen = (item for item in stream if isinstance(item, Order) and item.market == "NEW")
    gone = next(item for item in seen if item.is_final)
    assert (gone.id, gone.status, gone.reason) == (order.id, Status.CANCELLED, "market_closed")
    assert client.orders() == []


def vote(client: Client, change: Change) -> None:
    """The member of this mesh of one accepts it."""
    for result in client.node.govern([Propose(0, (change,)), Approve(0, -1, 0)]):
        assert result.events == []


def test_a_rejection_by_the_market_is_a_result(client: Client) -> None:
    client.sell(BTC, 1, 100)
    refused = client.buy(BTC, 1, 100, post_only=True, account="bob")
    assert (refused.status, refused.reason) == ("rejected", "would_cross")
    assert "Post-only" in refused.detail


def test_an_order_sent_again_with_its_client_id_is_the_same_order(client: Client) -> None:
    first = client.buy(BTC, 1, 50, client_id="mine")
    assert client.buy(BTC, 1, 50, client_id="mine").id == first.id
    assert [order.client_id for order in client.orders()] == ["mine"]


def test_invalid_input_is_never_sent(client: Client) -> None:
    with pytest.raises(InvalidInputError, match=r"Price must be a multiple of 0.01, not 99.005"):
        client.buy(BTC, 1, "99.005")
    with pytest.raises(InvalidInputError, match="must be exact"):
        client.buy(BTC, 0.1, 100)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"one of BTC-USD, ETH-USD, .*not 'X'"):
        client.book("X")
    with pytest.raises(InvalidInputError, match="Side must be buy or sell"):
        client.submit(BTC, "bye", 1, 1)
    with pytest.raises(InvalidInputError, match="Order is no id"):
        client.cancel("17")
    with pytest.raises(InvalidInputError, match="Kinds must be some of book"):
        client.stream("books")
    with pytest.raises(InvalidInputError, match="Display must be at most"):
        client.buy(BTC, 1, 1, display=2)
    with pytest.raises(InvalidInputError, match="Post only is wrong: expected `bool`, got `int`"):
        client.buy(BTC, 1, 1, post_only=7)  # type: ignore[typeddict-item]
    with pytest.raises(InvalidInputError, match="There is no colour"):
        client.buy(BTC, 1, 1, colour="red")  # type: ignore[call-arg]
    assert client.orders() == []


def test_a_stream_has_every_change(client: Client) -> None:
    mine = client.sell(BTC, "2", "100")
    stream = client.stream("book", "trades", "orders", market=BTC, timeout_s=5)
    client.buy(ETH, 1, 1)
    first = next(stream)
    assert isinstance(first, Book)
    assert first.asks == ((Decimal(100), Decimal(2), 1),)
    assert next(item for item in stream if isinstance(item, Order)).id == mine.id
    for _ in range(3):
        client.buy(BTC, "0.5", "100", account="bob")
    told: dict[type, list[Book | Order | Trade]] = {Book: [], Trade: [], Order: []}
    for item in stream:
        assert isinstance(item, Book | Trade | Order)
        told[type(item)].append(item)
        orders = told[Order]
        if len(orders) == len(told[Trade]) == 3 and told[Book][-1:] == [client.book(BTC)]:
            break
    assert [order.filled for order in told[Order] if isinstance(order, Order)] == [0.5, 1, 1.5]
    numbers = [trade.number for trade in told[Trade] if isinstance(trade, Trade)]
    assert numbers == [trade.number for trade in client.trades(BTC, 3)[::-1]]


def test_a_stream_ends_when_nothing_happens(client: Client) -> None:
    assert [type(item) for item in client.stream("book", market=ETH, timeout_s=0.1)] == [Book]


def test_lost_messages_are_replaced_by_states(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node, Client(node.where, account="alice") as client:
        client.sell(BTC, 5, 100)
        stream = client.stream("trades", timeout_s=5)
        for lost in (0, 2, 0):
            node.faults.lost_updates = lost
            for _ in range(max(lost, 1)):
                client.buy(BTC, 1, 100, account="bob")
        numbers = [item.number for item in islice(stream, 4)]  # type: ignore[union-attr]
        assert numbers == [1, 2, 3, 4]


def test_a_lost_last_message_is_replaced_though_none_follows(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node, Client(node.where, account="alice") as client:
        client.sell(BTC, 5, 100)
        stream = client.stream("trades", timeout_s=20)
        client.buy(BTC, 1, 100, account="bob")
        assert next(stream).number == 1  # type: ignore[union-attr]
        node.faults.lost_updates = 1
        client.buy(BTC, 1, 100, account="bob")
        assert next(stream).number == 2  # type: ignore[union-attr]


def test_a_stream_outlives_the_node(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node, Client(node.where, account="alice") as client:
        for price in (1, 2, 3):
            client.buy(BTC, 1, price)
        stream = client.stream("book", "orders", market=BTC, timeout_s=20)
        for item in islice(stream, 4):
            assert isinstance(item, Book | Order)
        for price in (4, 5, 6):
            client.buy(BTC, 1, price)
        sixth = next(i for i in stream if isinstance(i, Order) and i.price == 6)
        node.restart()
        beat = next(client.stream("mesh"))  # by now others have found it again, too
        assert beat is not None
        seventh = client.buy(BTC, 1, 7)
        news: list[str] = []
        while not {"book", seventh.id} <= set(news):
            match next(stream):
                case Book(bids=bids) if bids[0].price == 7:
                    news.append("book")
                case Order(id=number):
                    news.append(number)
        assert sixth.id in news, "all are told again"


def test_without_a_quorum_an_order_is_pending_and_can_be_withdrawn(tmp_path: Path) -> None:
    with stand_in(tmp_path) as node, Client(node.where, "alice", timeout_s=0.5) as client:
        other = client.buy(BTC, 1, 99)
        node.faults.holds = True
        order = client.buy(BTC, 1, 100)
        assert (order.status, order.is_final) == (Status.PENDING, False)
        assert [known.status for known in client.orders()] == ["open", "pending"]
        assert client.cancel(order.id).status == "cancelled"
        with pytest.raises(NoAnswerError, match="no quorum"):
            client.cancel(other.id)


def test_without_a_node_there_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "nobody").mkdir()
    with Client(tmp_path / "nobody", "alice", timeout_s=0.1) as client:
        with pytest.raises(NoAnswerError):
            client.buy(BTC, 1, 1)
        with pytest.raises(NoAnswerError):
            client.stream("mesh")


def test_a_repeat_that_only_the_order_finds_names_the_first_one(tmp_path: Path) -> None:
    """ORDER-59. Another member had the order before."""
    mine = Submit(513, "alice", BTC, Side.BUY, 1, 100, client_id="mine")
    events = Exchange(MARKETS).apply(msgspec.structs.replace(mine, id=256))
    with Client(tmp_path, account="alice") as client:
        client.node.close()
        done = Done(5, 50, [Result(513, events, [], 256)])
        client.node = Told(Queued([513]), done)  # type: ignore[assignment]
        number, outcome = client._run(mine)
    assert outcome is not None
    assert outcome.order is not None
    assert (number, outcome.order.id, outcome.order.status) == (256, 256, Status.OPEN)


class Told:
    """A node that gives these answers."""

    def __init__(self, *answers: Reply) -> None:
        self._answers = list(answers)

    def send(self, request: Request) -> bytes:
        return b"1"

    def answer(self, *_: object) -> Reply:
        return self._answers.pop(0)

    def close(self) -> None:
        pass
