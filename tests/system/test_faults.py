"""Peers that die and come back: no peer invents anything, nothing acknowledged is lost.

Real Grapes, real processes, kill -9.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from discovery.grapes import running_grapes
from engine import Accepted, Side, Trade
from peer.client.connection import NodeRefusedError
from peer.client.protocol import Done, Execute, MarketUpdate, Queued, State, topic
from peer.consensus.committee import Mode
from peer.storage import data_folder
from tests.support.real_mesh import (
    MARKET,
    OTHER_MARKET,
    RealMesh,
    RealPeer,
    order,
    random_orders,
    submit_at_once,
    wait_for,
)


@pytest.fixture(scope="module")
def grapes() -> Iterator[list[str]]:
    with running_grapes() as running:
        yield [grape.spec.url for grape in running]


@pytest.fixture
def mesh(tmp_path: Path, grapes: list[str]) -> Iterator[RealMesh]:
    with RealMesh(tmp_path, grapes) as mesh:
        mesh.start()
        yield mesh


def test_one_of_three_peers_dies_and_the_others_trade_on(mesh: RealMesh) -> None:
    rng = random.Random(1)
    *living, dying = mesh.peers
    dying.client.execute([order("first", Side.SELL, 20_000, 7, OTHER_MARKET)])
    dying.kill()
    flows = [(peer.client, random_orders(rng, "after", 200)) for peer in living]
    submit_at_once(flows)
    before = mesh.agreed(living)
    assert mesh.agreed(living, OTHER_MARKET).asks == [(20_000, 7, 1)], "the dead peer's stands"

    dying.start()
    state = mesh.agreed(since=before.commit)
    assert state.digest == before.digest
    [result] = dying.client.execute([order("second", Side.BUY, 20_000, 7, OTHER_MARKET)])
    assert [e.maker_account for e in result.events if isinstance(e, Trade)] == ["first"]
    mesh.agreed(market=OTHER_MARKET)


def test_without_a_quorum_orders_wait_and_nothing_matches(mesh: RealMesh) -> None:
    """ORDER-39."""
    last, *dying = mesh.peers
    last.client.execute([order("maker", Side.SELL, 10_000, 5)])
    before = mesh.agreed()
    for peer in dying:
        peer.kill()
    wait_for("no quorum", lambda: "NO QUORUM" in last.log())
    number = last.client.send(Execute([order("taker", Side.BUY, 10_000, 5)]))
    assert last.client.receive(5) == (number, Queued([2 * 256]))
    assert last.client.receive(1) is None, "no result is invented"
    assert last.state() == before
    assert [id_ for id_, _ in last.client.orders("taker").pending] == [2 * 256]

    dying[0].start()
    answer = last.client.receive(20)
    assert answer is not None
    assert isinstance(answer[1], Done)
    assert [type(event) for event in answer[1].results[0].events] == [Accepted, Trade]
    mesh.agreed([last, dying[0]])


def test_acknowledged_orders_survive_kill_9_of_all_peers(mesh: RealMesh) -> None:
    """ORDER-29."""
    rng = random.Random(2)
    submit_at_once([(peer.client, random_orders(rng, "before", 300)) for peer in mesh.peers])
    before = mesh.agreed()
    for peer in mesh.peers[1:]:
        peer.kill()
    waiting = [order("late", Side.BUY, 1_000 + n, 1) for n in range(50)]
    for one in waiting:
        mesh.peers[0].client.submit([one])
    mesh.peers[0].kill()
    for peer in mesh.peers:
        peer.start()

    wait_for("all 50", lambda: len(mesh.peers[0].client.orders("late").open) == 50)
    after = mesh.agreed(since=before.commit)
    assert [level for level in after.bids if level[0] <= 1_050][::-1] == [
        (1_000 + n, 1, 1) for n in range(50)
    ]
    assert after.trades == before.trades


def test_trades_from_before_a_restart_are_not_published_again(mesh: RealMesh) -> None:
    peer = mesh.peers[0]
    peer.client.execute([order("a", Side.SELL, 100, 5), order("b", Side.BUY, 100, 2)])
    mesh.agreed()
    peer.stop()
    peer.start()
    mesh.wait_quorum([peer])
    assert peer.state().trades[0].number == 1
    feed = peer.client.feed(topic("market", MARKET), timeout_s=5)
    peer.client.execute([order("b", Side.BUY, 100, 1)])
    assert isinstance(next(feed), State)
    update = next(feed)
    assert isinstance(update, MarketUpdate)
    assert [(trade.number, trade.quantity) for trade in update.trades] == [(2, 1)]
    assert (update.bids, update.asks) == ([], [(100, 2, 1)])


def test_only_commands_in_no_block_can_be_withdrawn(mesh: RealMesh) -> None:
    last, *dying = mesh.peers
    last.client.execute([order("you", Side.BUY, 99, 1)])  # so that its next block takes commands
    for peer in dying:
        peer.kill()
    ids = last.client.submit([order("me", Side.BUY, 100, 1)])
    wait_for("no quorum", lambda: "NO QUORUM" in last.log())
    ids += [last.client.submit([order("me", Side.BUY, 101 + n, 1)])[0] for n in range(3)]
    assert last.client.withdraw("somebody else", ids) == []
    taken = last.client.withdraw("me", ids)
    assert set(taken) < set(ids)
    assert ids[0] not in taken, "the first one is in a published block already"
    last.kill()
    for peer in mesh.peers:
        peer.start()
    left = sorted(set(ids) - set(taken))
    wait_for("the others", lambda: [o.id for o in last.client.orders("me").open] == left)
    mesh.agreed()


def test_a_peer_without_its_journal_does_not_start(mesh: RealMesh) -> None:
    peer = mesh.peers[2]
    peer.client.execute([order("a", Side.BUY, 100, 1)])
    peer.kill()
    for file in peer.folder.glob("journal.db*"):
        file.unlink()
    peer.start()
    assert peer.process is not None
    assert peer.process.wait(10) == 1
    assert "must rejoin under a new key" in peer.log()


def test_an_old_copy_of_a_journal_halts_its_peer(mesh: RealMesh) -> None:
    """ORDER-26."""
    *others, peer = mesh.peers
    peer.client.execute([order("a", Side.BUY, 100, 1)])
    peer.stop()
    copies = {file: file.read_bytes() for file in peer.folder.glob("journal.db*")}
    peer.start()
    mesh.wait_quorum([peer])
    for _ in range(3):
        peer.client.execute([order("a", Side.BUY, 101, 1)])
    peer.kill()
    for file in peer.folder.glob("journal.db*"):
        file.unlink()
    for file, copy in copies.items():
        file.write_bytes(copy)
    peer.start()
    wait_for("the alarm", lambda: "the journal is an old copy" in peer.log())
    others[0].client.execute([order("b", Side.BUY, 1, 1)])
    assert mesh.agreed(others).bids == [(101, 3, 3), (100, 1, 1), (1, 1, 1)]
    assert peer.log().count("halted:") == 1, "said once, however many blocks say so"


def test_a_second_process_with_the_same_journal_is_refused(mesh: RealMesh, tmp_path: Path) -> None:
    second = RealPeer(mesh.peers[0].folder, mesh.file, mesh.grapes, log=tmp_path / "log")
    second.start()
    assert second.process is not None
    assert second.process.wait(20) == 1
    assert "is in use: is this peer running already?" in second.log()
    second.close()
    mesh.peers[0].state()


@pytest.mark.parametrize("mode", Mode)
def test_a_peer_that_is_no_member_follows_if_the_mesh_file_allows_it(
    tmp_path: Path, grapes: list[str], mode: Mode
) -> None:
    with RealMesh(tmp_path, grapes, size=4, mode=mode, observers="any") as mesh:
        data_folder.create(tmp_path / "follower")
        follower = RealPeer(tmp_path / "follower", mesh.file, grapes)
        mesh.start()
        mesh.peers[0].client.execute([order("a", Side.BUY, 100, 1)])
        follower.start()
        try:
            mesh.agreed([*mesh.peers, follower])
            with pytest.raises(NodeRefusedError, match="this peer follows the mesh"):
                follower.client.execute([order("a", Side.BUY, 100, 1)])
        finally:
            follower.close()


def test_a_stranger_is_refused(mesh: RealMesh, grapes: list[str], tmp_path: Path) -> None:
    data_folder.create(tmp_path / "stranger")
    stranger = RealPeer(tmp_path / "stranger", mesh.file, grapes)
    mesh.peers[0].client.execute([order("a", Side.BUY, 100, 1)])
    stranger.start()
    try:
        wait_for("refusal", lambda: "not a key of this mesh" in mesh.peers[0].log())
        assert stranger.state().commit == 0
    finally:
        stranger.close()
