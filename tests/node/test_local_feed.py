"""What a local program hears on its node's feed: nothing is lost unseen, and no stream takes what
is another's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Side
from peer.client.connection import NodeClient
from peer.client.endpoint import endpoints
from peer.client.protocol import AccountUpdate, topic
from tests.support.real_mesh import MARKETS, order
from tests.support.web_gateway import lone_peer

ANSWER_S = 20.0


@pytest.fixture
def client(tmp_path: Path) -> Iterator[NodeClient]:
    with lone_peer(tmp_path, MARKETS) as data, NodeClient(endpoints(data), ANSWER_S) as client:
        yield client


def test_what_came_between_the_question_and_the_subscription_shows_as_a_gap(
    client: NodeClient,
) -> None:
    known = client.orders("ann")
    client.execute([order("ann", Side.BUY, 10, 1)])
    assert client.orders("ann").seq == known.seq + 1, "told, and nobody listened"
    feed = client.feed(topic("account", "ann"), timeout_s=ANSWER_S)
    greeting = next(feed)
    assert isinstance(greeting, AccountUpdate)
    assert (greeting.seq, greeting.events) == (known.seq + 2, [])


def test_two_feeds_of_one_client_do_not_take_each_others_messages(client: NodeClient) -> None:
    names = ("ann", "bob")
    feeds = [client.feed(topic("account", name), timeout_s=ANSWER_S) for name in names]
    for feed in feeds:
        next(feed)  # its greeting: the subscription stands
    for price in (10, 11):
        client.execute([order(name, Side.BUY, price, 1) for name in names])
    for name, feed in reversed([*zip(names, feeds, strict=True)]):  # whose came last is read first
        heard = [next(feed) for _ in range(2)]
        assert [each.account for each in heard if isinstance(each, AccountUpdate)] == [name] * 2
