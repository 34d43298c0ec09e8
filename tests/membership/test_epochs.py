"""Epochs: the seats, the seal, and the chain from the mesh file to a later epoch."""

from collections.abc import Callable

import msgspec
import pytest

from peer.consensus.committee import Committee, Mode
from peer.membership import epochs
from peer.membership.epochs import (
    DOMAIN,
    Certificate,
    Epoch,
    ForgedChainError,
    Pin,
    Seat,
    UncertifiedError,
    chain,
    read_pin,
)
from tests.support.epochs import first_epoch, key_of

FIRST = first_epoch(Committee(b"m" * 16, 3, Mode.CRASH, created_ms=1_000))
DIGEST = b"d" * 32
change = msgspec.structs.replace


def joiner(number: int) -> tuple[str, bytes]:
    """The name and key of the member that will have this seat."""
    return f"m{number}", key_of(number).public


def signed(epoch: Epoch, *seats: int) -> Certificate:
    """An epoch with the signatures of these seats of the one before."""
    text = DOMAIN + epoch.seal
    return Certificate(epoch.origin, {seat: key_of(seat).sign(text) for seat in seats})


def history() -> tuple[list[Epoch], list[Certificate]]:
    """Twenty epochs, each of which replaces the member that is longest there; so the first members
    are all gone."""
    found, certificates = [FIRST], []
    for number in range(20):
        before = found[-1]
        gone, *stay = before.numbers
        new = joiner(before.origin.seats_ever)
        after = before.following({gone}, [new], 1, 10 * number + 10, 2_000 + number, DIGEST)
        certificates.append(signed(after, *stay))
        found.append(after)
    return found, certificates


def test_a_seat_is_never_used_again() -> None:
    """ORDER-43."""
    second = FIRST.following({1}, [joiner(3), joiner(4)], 1, 64, 2_000, DIGEST)
    assert second.numbers == (0, 2, 3, 4)
    assert [second.author_of(seat) for seat in (0, 1, 2, 3, 4)] == [0, None, 1, 2, 3]
    assert (second.committee.size, second.committee.epoch, second.committee.ended) == (4, 1, 64)
    third = second.following({4}, [joiner(5)], 1, 65, 2_000, DIGEST)
    assert third.numbers == (0, 2, 3, 5)
    assert third.seat_of(key_of(5).public) == 5
    assert third.seat_of(key_of(4).public) is None


@pytest.mark.parametrize(
    ("removed", "added", "why"),
    [
        ({0, 1, 2}, [], "1 to 25 members"),
        (set(), [joiner(3)] * 2, "the name or the key"),
        (set(), [("m0", key_of(3).public)], "the name or the key"),
        (set(), [("m3", key_of(0).public)], "the name or the key"),
        (set(), [("m3", b"k" * 31)], "32 bytes"),
    ],
)
def test_an_epoch_that_cannot_be_is_refused(
    removed: set[int], added: list[tuple[str, bytes]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        FIRST.following(removed, added, 1, 64, 2_000, DIGEST)


def test_the_seal_covers_all_that_the_epoch_begins_from() -> None:
    """ORDER-44."""
    origin = FIRST.following({1}, [joiner(3)], 1, 64, 2_000, DIGEST).origin
    seals = {Epoch(origin, Mode.CRASH).seal}
    for changes in (
        {"mesh": b"n" * 16},
        {"before": b"b" * 32},
        {"number": 2},
        {"level": 2},
        {"seats": origin.seats[1:]},
        {"seats_ever": 5},
        {"commit": 65},
        {"time_ms": 2_001},
        {"digest": b"e" * 32},
    ):
        seals.add(Epoch(change(origin, **changes), Mode.CRASH).seal)
    assert len(seals) == 10


def test_a_newcomer_follows_the_chain_from_the_mesh_file() -> None:
    """ORDER-47: in epoch 20 none of the first members is left."""
    found, certificates = history()
    got = list(chain(FIRST, certificates))
    assert [epoch.seal for epoch in got] == [epoch.seal for epoch in found[1:]]
    assert not set(got[-1].numbers) & {0, 1, 2}
    again = [epochs.decode(epochs.encode(each)) for each in certificates]
    assert again == certificates
    assert list(chain(got[6], certificates[7:]))[-1].seal == got[-1].seal


def forged_member(certificates: list[Certificate]) -> list[Certificate]:
    """Epoch 10 with another member, signed by those that epoch 9 really had."""
    bad = change(certificates[9].origin, seats=(Seat(200, "eve", key_of(90).public),))
    return [*certificates[:9], signed(Epoch(bad, Mode.CRASH), *certificates[9].signatures)]


def new_signers(certificates: list[Certificate]) -> list[Certificate]:
    """Epoch 10 signed by its own members, of whom one was none before."""
    epoch = Epoch(certificates[9].origin, Mode.CRASH)
    return [*certificates[:9], signed(epoch, *epoch.numbers[1:])]


def too_few(certificates: list[Certificate]) -> list[Certificate]:
    one = dict(list(certificates[9].signatures.items())[:1])
    return [*certificates[:9], change(certificates[9], signatures=one)]


def bad_signature(certificates: list[Certificate]) -> list[Certificate]:
    signatures = dict.fromkeys(certificates[9].signatures, b"s" * 64)
    return [*certificates[:9], change(certificates[9], signatures=signatures)]


def left_out(certificates: list[Certificate]) -> list[Certificate]:
    return [*certificates[:9], *certificates[10:]]


def old_signatures(certificates: list[Certificate]) -> list[Certificate]:
    """Epoch 10 with another digest, and the signatures of the real one."""
    origin = change(certificates[9].origin, digest=b"e" * 32)
    return [*certificates[:9], change(certificates[9], origin=origin)]


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (forged_member, "epoch 10: new seats are numbered from 12"),
        (new_signers, "epoch 10: a signature is not of a member before it"),
        (too_few, "epoch 10: expected signatures of 2 members of epoch 9, got 1"),
        (bad_signature, "epoch 10: a signature is not"),
        (left_out, "epoch 11: it does not follow epoch 9"),
        (old_signatures, "epoch 10: a signature is not"),
    ],
)
def test_a_forged_chain_is_refused(
    forge: Callable[[list[Certificate]], list[Certificate]], why: str
) -> None:
    """ORDER-47. What comes before the forgery counts."""
    got: list[int] = []
    with pytest.raises(ForgedChainError, match=why):
        got.extend(epoch.number for epoch in chain(FIRST, forge(history()[1])))
    assert got == list(range(1, 10))


def test_a_trusted_seal_needs_no_signatures_before_it() -> None:
    """ORDER-47."""
    found, certificates = history()
    bare = [change(each, signatures={}) for each in certificates[:10]] + certificates[10:]
    with pytest.raises(UncertifiedError):
        list(chain(FIRST, bare))
    pin = Pin(10, found[10].seal)
    assert [epoch.seal for epoch in chain(FIRST, bare, pin)] == [one.seal for one in found[1:]]
    with pytest.raises(ForgedChainError, match="expected the trusted seal"):
        list(chain(FIRST, bare, Pin(10, b"s" * 32)))


def test_a_pin_is_written_as_epoch_and_seal() -> None:
    """ORDER-47."""
    assert read_pin(f"10:{'5a' * 32}") == Pin(10, b"Z" * 32)
    for text in ("", "10", "x:5a", "10:5a", f"0:{'5a' * 32}", f"-1:{'5a' * 32}", f"1:{'zz' * 32}"):
        with pytest.raises(ValueError, match="expected EPOCH:SEAL"):
            read_pin(text)


@pytest.mark.parametrize("noise", [b"", b"\xc1", b"\x92\x99\x80"])
def test_noise_is_no_certificate(noise: bytes) -> None:
    with pytest.raises(ForgedChainError, match="not an epoch's certificate"):
        epochs.decode(noise)


def test_a_second_encoding_of_a_certificate_is_refused() -> None:
    data = epochs.encode(history()[1][0])
    longer = b"\xdc\x00\x02" + data[1:]
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(data)
    with pytest.raises(ForgedChainError, match="one encoding"):
        epochs.decode(longer)
