"""The node that takes a signed command: what it refuses at once, and that nothing is lost."""

from pathlib import Path

import msgspec
import pytest

from engine import Accepted, Cancel, Cancelled, Event, Reason, Rejected, Side, Submit
from peer import Signer
from peer.client.programs import Caller
from peer.client.protocol import Done, Queued, Refused
from peer.membership.identity import Identity
from peer.node.submissions import Submissions
from peer.replica.batch import command_id
from peer.replica.signed import Entry, Signed
from tests.support.alone import Alone
from tests.support.real_mesh import MARKET, RealMesh, order

TRADER = Identity.ephemeral()


def buy(account: str, price: int = 100, client_id: str = "") -> Submit:
    return Submit(0, account, MARKET, Side.BUY, 1, price, client_id=client_id)


def signer(peer: Alone) -> Signer:
    return Signer(TRADER, peer.config.id.hex())


def event(peer: Alone, *entries: Entry) -> Event:
    """The first event of the first of them."""
    done = peer.execute(*entries)[1]
    assert isinstance(done, Done)
    return done.results[0].events[0]


def refusal(peer: Alone, *entries: Entry) -> Refused:
    [refused] = peer.execute(*entries, answers=1)
    assert isinstance(refused, Refused)
    return refused


def test_a_command_that_no_peer_would_apply_is_refused(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        mine = signer(peer)
        used = mine.sign(buy(mine.account))
        assert type(event(peer, used)) is Accepted
        fresh = mine.sign(buy(mine.account))
        bad = msgspec.structs.replace(fresh, nonce=fresh.nonce + 1)
        late = Signer(TRADER, mine.mesh, lambda: 1).sign(buy(mine.account))
        for entry, reason in (
            (buy(mine.account), Reason.NOT_SIGNED),
            (used, Reason.NONCE_USED),
            (bad, Reason.BAD_SIGNATURE),
            (late, Reason.SIGNATURE_EXPIRED),
        ):
            refused = refusal(peer, order("ann", Side.BUY, 1, 1), entry)
            assert refused.code == reason.name.lower()
            assert refused.reason == f"command 2 would be rejected: {reason.name}"
        assert peer.node.submissions.outstanding == 0
        assert type(event(peer, fresh)) is Accepted


def test_a_signed_order_is_accepted_while_the_others_are_silent(tmp_path: Path) -> None:
    """What the ordered clock will show is not known then: that is no reason to refuse it."""
    with RealMesh(tmp_path, []) as mesh:
        peer = mesh.peers[0]
        peer.start()
        mine = Signer(TRADER, mesh.config.id.hex())
        assert peer.client.submit([mine.sign(buy(mine.account))]) == [command_id(1, 0)]


def test_a_nonce_used_meanwhile_is_rejected_when_ordered(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        mine = signer(peer)
        first, second = mine.sign(buy(mine.account)), mine.sign(buy(mine.account))
        _, done = peer.execute(second, first)
        assert isinstance(done, Done)
        [[good], [bad]] = [result.events for result in done.results]
        assert type(good) is Accepted
        assert bad == Rejected(done.results[1].id, mine.account, Reason.NONCE_USED)


def test_an_order_sent_again_under_its_client_id_is_the_first_one(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        mine = signer(peer)
        entry = mine.sign(buy(mine.account, client_id="c"))
        first, done = peer.execute(entry)
        assert isinstance(first, Queued)
        queued = Queued(first.ids, first.ids)  # all of them again
        assert peer.execute(entry) == [queued, done]
        again = mine.sign(buy(mine.account, client_id="c"))
        assert peer.execute(again) == [queued, done], "signed anew, under the same name"
        other = mine.sign(buy(mine.account, 5, "c"))
        assert refusal(peer, other).code == "other_order"
        bad = msgspec.structs.replace(entry, signature=b"s" * 64)
        assert refusal(peer, bad).code == "bad_signature", "only its signer may ask"
    with Alone(tmp_path / "me") as peer:
        again_queued, lost = peer.execute(entry)
        assert again_queued == queued
        assert isinstance(lost, Refused)
        assert lost.code == "result_lost"


def test_nonces_survive_restarts_snapshots_and_pruning(tmp_path: Path) -> None:
    with Alone(tmp_path / "me") as peer:
        mine = signer(peer)
        used = mine.sign(buy(mine.account))
        peer.execute(used)
    with Alone(tmp_path / "me") as peer:
        assert refusal(peer, used).code == "nonce_used"
        for _ in range(150):
            peer.execute(order("ann", Side.BUY, 1, 1))
        assert peer.journal.certified() is not None
    with Alone(tmp_path / "me") as peer:
        assert refusal(peer, used).code == "nonce_used"
        cancel = mine.sign(Cancel(0, mine.account, command_id(1, 0)))
        assert type(event(peer, cancel)) is Cancelled


def test_an_unordered_signed_command_survives_a_restart(tmp_path: Path) -> None:
    """In no block yet when the peer ends: its signature is in the journal with it."""
    mine = Signer(TRADER, "ab" * 16)
    entry, me, ann = mine.sign(buy(mine.account)), 2, Caller(b"ann", b"1")
    before = Submissions(me)
    assert before.take(ann, [entry], 0) is None
    after = Submissions(me)
    after.restore([], before.unsaved, 1)
    assert after.unsaved == []
    [(id_, command)] = after.pending_of(mine.account)
    assert id_ == command_id(1, me)
    assert command == msgspec.structs.replace(entry.command, id=id_)
    assert after.withdraw("ann", [id_]) == {}
    assert after.next_payload() == before.next_payload()


@pytest.mark.parametrize("account", ["ann", ""])
def test_only_keys_sign(account: str) -> None:
    with pytest.raises(ValueError, match=f"got {account!r}"):
        Signed(buy(account), 1, 2, b"s" * 64)


def test_a_program_signs_for_its_own_account_only() -> None:
    mine = Signer(TRADER, "ab" * 16)
    with pytest.raises(ValueError, match=f"signs for {mine.account}, not for ann"):
        mine.sign(buy("ann"))
