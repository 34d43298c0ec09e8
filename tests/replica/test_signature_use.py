"""A signature is used once and in its time, and the memory of that is bounded."""

import itertools
import random

import msgspec

from engine import (
    Cancel,
    Reason,
)
from peer.membership.epochs import Epoch
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.nonces import KEY_ACCOUNTS_MAX, VALID_MS_MAX, Seat, Signers, bucket_of
from peer.replica.signature_cache import SignatureCache
from peer.replica.signed import (
    KEY_PREFIX,
    Signed,
    with_id,
)
from peer.replica.snapshot import SEATS
from peer.replica.state_machine import Replica
from tests.support.pieces import pieces_of, rebuilt
from tests.support.signing import ACCOUNT, CONFIG, ENCODE, MEMBERS, MESH, NOW_MS, Peer, buy, signer

SHARE = KEY_ACCOUNTS_MAX // len(MEMBERS)  # of one member


def seats(count: int, member: int = 0, after_ms: int = 0) -> dict[str, Seat]:
    """Of accounts that a member has brought, each with a nonce `after_ms` after the last one's."""
    return {f"{KEY_PREFIX}{n}": Seat(NOW_MS + n * after_ms, member) for n in range(count)}


def signers(used: dict[str, Seat] | None = None) -> Signers:
    return Signers(MESH, len(MEMBERS), used)


def test_of_several_reasons_the_first_wins() -> None:
    """Each entry is bad for its own reason and for all that come later."""
    empty, filled = signers(), signers(seats(SHARE))
    used = signers(seats(SHARE) | {ACCOUNT: Seat(NOW_MS + 9, 1)})
    bad = msgspec.structs.replace(signer().sign(buy()), signature=b"s" * 64)
    assert used.refusal(buy(), NOW_MS, 0) == Reason.NOT_SIGNED
    assert used.refusal(bad, NOW_MS + VALID_MS_MAX, 0) == Reason.SIGNATURE_EXPIRED
    assert used.refusal(bad, NOW_MS, 0) == Reason.NONCE_USED
    assert filled.refusal(bad, NOW_MS, 0) == Reason.TOO_MANY_KEYS
    assert empty.refusal(bad, NOW_MS, 0) == Reason.BAD_SIGNATURE


def test_the_number_of_key_accounts_is_bounded_until_old_ones_are_forgotten() -> None:
    full, day_later = signers(seats(SHARE, after_ms=1)), NOW_MS + VALID_MS_MAX
    entry = signer(day_later).sign(buy())
    assert full.admit(entry, day_later - 1, 0) == Reason.TOO_MANY_KEYS
    full.forget(day_later - 1)
    assert len(full.seats) == SHARE
    full.forget(day_later)
    assert f"{KEY_PREFIX}0" not in full.seats
    assert full.admit(entry, day_later, 0) is None
    assert len(full.seats) == SHARE


def test_a_full_share_of_one_member_excludes_no_key_at_another() -> None:
    full = signers(seats(SHARE, member=2))
    mine = signer().sign(buy())
    assert full.refusal(mine, NOW_MS, 2) == Reason.TOO_MANY_KEYS
    assert full.admit(mine, NOW_MS, 3) is None
    later = signer(NOW_MS + 1).sign(buy())
    assert full.admit(later, NOW_MS, 2) is None, "an account that has a seat has it everywhere"
    assert full.seats[ACCOUNT] == Seat(NOW_MS + 1, 3)


def test_no_nonce_is_forgotten_while_an_earlier_signature_could_be_valid() -> None:
    rng = random.Random(3)
    remembers, forgets = signers(), signers()
    now_ms, made = NOW_MS, []
    for _ in range(150):
        now_ms += rng.randrange(VALID_MS_MAX // 4)
        clock_ms, valid_ms = now_ms + rng.randint(-(10**6), 10**6), rng.randint(1, VALID_MS_MAX)
        made.append(signer(clock_ms).sign(buy(), valid_ms))
        for entry in (made[-1], *rng.sample(made, min(len(made), 5))):
            forgets.forget(now_ms)
            assert forgets.admit(entry, now_ms, 0) == remembers.admit(entry, now_ms, 0)
        forgets.check()
    assert max(forgets.seats.values()) == max(remembers.seats.values())


def test_a_withdrawn_command_may_be_replaced_by_nothing() -> None:
    """The peer has no signature for what it puts there, and it changes nothing."""
    assert Peer().reasons(Cancel(0, ACCOUNT, 0)) == [Reason.UNKNOWN_ORDER]


def test_a_snapshot_holds_the_nonces_and_who_brought_them_and_its_digest_covers_them() -> None:
    peer, entry = Peer(), signer().sign(buy())
    peer.apply(entry, at_checkpoint=True)
    restored = rebuilt(peer.replica, CONFIG.committee)
    assert restored.signers.seats == peer.replica.signers.seats == {ACCOUNT: Seat(NOW_MS, 0)}
    assert restored.tree.digest == peer.replica.tree.digest
    assert Peer(restored).reasons(entry) == peer.reasons(entry) == [Reason.NONCE_USED]
    for seat in (Seat(NOW_MS + 1, 0), Seat(NOW_MS, 1)):
        other = pieces_of(peer.replica)
        other[SEATS + bucket_of(ACCOUNT)] = ENCODE([(ACCOUNT, *seat)])
        changed = Replica.restore(Epoch.first(CONFIG), other)
        assert changed.signers.seats == {ACCOUNT: seat}
        assert changed.tree.digest != peer.replica.tree.digest


def test_nobody_fills_a_piece_by_the_choice_of_keys() -> None:
    """A piece must fit one message. Of 256 buckets, a key for a given one took 256 tries."""
    names = (f"{KEY_PREFIX}{n}" for n in itertools.count())
    alike = itertools.islice((name for name in names if bucket_of(name) >> 48 == 0), 50)
    signers = Signers(MESH, 4, {name: Seat(NOW_MS, 0) for name in alike})
    signers.check()
    buckets = signers.changed_buckets()
    assert [len(rows) for _, rows in buckets] == [1] * 50
    signers.forget(NOW_MS + VALID_MS_MAX)
    signers.check()
    assert signers.changed_buckets() == [(bucket, []) for bucket, _ in buckets]


def test_nonces_are_forgotten_at_checkpoints() -> None:
    """Which all peers have at the same commits."""
    peer = Peer()
    peer.apply(signer().sign(buy()))
    peer.apply(buy("ann"), now_ms=NOW_MS + VALID_MS_MAX)
    assert peer.replica.signers.seats == {ACCOUNT: Seat(NOW_MS, 0)}
    peer.apply(buy("ann"), now_ms=NOW_MS + VALID_MS_MAX, at_checkpoint=True)
    assert peer.replica.signers.seats == {}


def test_ids_are_given_by_the_peer_and_are_not_signed() -> None:
    entry = signer().sign(buy())
    named = with_id(entry, 5 * MEMBERS_SPACE)
    assert isinstance(named, Signed)
    assert named.id == 5 * MEMBERS_SPACE
    assert SignatureCache(MESH).is_valid(named)
