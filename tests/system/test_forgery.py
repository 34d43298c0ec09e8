"""A member that tries to trade for others: real processes, its real key, real sockets.

The account is its trader's key, so no peer applies a command that the trader did not sign.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from engine import Cancel, Event, Reason, Rejected, Side, Submit
from peer import NodeClient, Signer
from peer.client.connection import NodeRefusedError
from peer.client.protocol import AccountUpdate, Orders, topic
from peer.membership.identity import Identity
from peer.replica.batch import command_id, encode_batch
from peer.replica.signed import Entry, Signed, with_id
from tests.support.real_mesh import MARKET, RealMesh, RealPeer, order, placed_mesh
from tests.support.rogue import Rogue, rogue_of

TRADER = Identity.ephemeral()
OTHER_MESH = "0f" * 16
replace = msgspec.structs.replace


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[RealMesh]:
    # Snapshots as often as can be, so that a peer goes on from one.
    with placed_mesh(tmp_path, options=["--snapshot-every=64"], starts=False) as mesh:
        yield mesh


@pytest.fixture
def rogue(mesh: RealMesh) -> Iterator[Rogue]:
    with rogue_of(mesh) as rogue:
        yield rogue


def buy(account: str, price: int = 100, quantity: int = 1) -> Submit:
    return Submit(0, account, MARKET, Side.BUY, quantity, price)


def forgeries(used: Signed, elsewhere: Signed, fresh: Signed) -> list[tuple[Entry, Reason]]:
    account = used.account
    liar = Signer(Identity.ephemeral(), OTHER_MESH)
    own = liar.sign(buy(liar.account))
    return [
        (buy(account), Reason.NOT_SIGNED),
        (Cancel(0, account, 256), Reason.NOT_SIGNED),
        (used, Reason.NONCE_USED),
        (elsewhere, Reason.BAD_SIGNATURE),
        (replace(fresh, command=buy(account, 999)), Reason.BAD_SIGNATURE),
        (replace(fresh, nonce=fresh.nonce + 1), Reason.BAD_SIGNATURE),
        (replace(fresh, command=buy(account), signature=own.signature), Reason.BAD_SIGNATURE),
        (replace(fresh, until_ms=fresh.until_ms + 10**8), Reason.SIGNATURE_EXPIRED),
    ]


class Listener:
    """Hears the updates of an account at one peer."""

    def __init__(self, peer: RealPeer, account: str) -> None:
        self._client = NodeClient(peer.where)
        updates = self._client.feed(topic("account", account), timeout_s=10)
        self._updates = (update for update in updates if isinstance(update, AccountUpdate))
        assert isinstance(next(updates), Orders), "it listens now"

    def rejections(self, count: int) -> list[Event]:
        heard: list[Event] = []
        while len(heard) < count:
            events = next(self._updates).events
            heard += [event for event in events if isinstance(event, Rejected)]
        return heard

    def close(self) -> None:
        self._client.close()


def test_no_member_can_forge_alter_replay_or_redirect_a_signed_order(
    mesh: RealMesh, rogue: Rogue
) -> None:
    others, id_ = mesh.peers[:2], mesh.config.id.hex()
    trader, abroad = Signer(TRADER, id_), Signer(TRADER, OTHER_MESH)
    used = trader.sign(buy(trader.account))
    [placed] = mesh.peers[0].client.execute([used])
    assert [type(event).__name__ for event in placed.events] == ["Accepted"]
    before = mesh.agreed(others).bids
    assert before == [(100, 1, 1)]

    fresh = trader.sign(buy(trader.account, 98))
    tried = forgeries(used, abroad.sign(buy(trader.account)), fresh)
    named = [with_id(entry, command_id(n, 2)) for n, (entry, _) in enumerate(tried, 1)]
    listeners = [Listener(peer, trader.account) for peer in others]
    payload = encode_batch(1, [msgspec.msgpack.encode(entry) for entry in named])
    block = rogue.block(payload=payload)
    commit = mesh.agreed(others).commit
    rogue.say(block, until=lambda: all(peer.state().commit > commit for peer in others))
    assert mesh.agreed(others).bids == before

    expected = [Rejected(e.id, e.account, r) for e, (_, r) in zip(named, tried, strict=True)]
    for peer, listener in zip(others, listeners, strict=True):
        with closing(listener):
            assert listener.rejections(len(expected)) == expected
        assert "ALARM peer3 sent a forged command" in peer.log()
    # The forgeries have not used up the nonces of commands that the trader's key signed.
    [second] = mesh.peers[1].client.execute([fresh])
    assert [type(event).__name__ for event in second.events] == ["Accepted"]
    assert mesh.agreed(others).bids == [(100, 1, 1), (98, 1, 1)]


def test_an_account_of_its_own_across_peers_restarts_and_snapshots(mesh: RealMesh) -> None:
    mesh.start()
    trader = Signer(TRADER, mesh.config.id.hex())
    alpha, bravo, charlie = mesh.peers
    first = trader.sign(buy(trader.account, quantity=3))
    [placed] = alpha.client.execute([first])
    bravo.client.execute([order("ann", Side.SELL, 100, 1)])
    cancel = trader.sign(Cancel(0, trader.account, placed.id))
    [gone] = bravo.client.execute([cancel])
    assert [(type(e).__name__, e.remaining) for e in gone.events] == [("Cancelled", 2)]
    charlie.kill()
    for _ in range(130):  # past two snapshots
        alpha.client.execute([order("ann", Side.SELL, 200, 1)])
    charlie.start()
    mesh.wait_quorum([charlie])
    mesh.agreed()
    for peer in (alpha, bravo):
        peer.stop()
        peer.start()
    mesh.wait_quorum([alpha, bravo])
    for peer in mesh.peers:
        for used in (first, cancel):
            with pytest.raises(NodeRefusedError, match="NONCE_USED"):
                peer.client.execute([used])
    charlie.client.execute([trader.sign(buy(trader.account, 50))])
    assert mesh.agreed().bids == [(50, 1, 1)]
