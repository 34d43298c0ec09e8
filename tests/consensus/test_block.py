"""The canonical encoding of a block, and the refusal of invalid blocks."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.consensus.block import (
    NO_ATTESTATION,
    PAYLOAD_BYTES_MAX,
    SIGNATURE_BYTES,
    Attestation,
    InvalidBlockError,
    OtherEpochError,
    Ref,
    decode,
    genesis,
    make,
)
from peer.consensus.committee import Committee, Mode

COMMITTEE = Committee(b"m" * 16, 4, Mode.CRASH)
PARENTS = tuple(block.ref for block in genesis(COMMITTEE))


def sign(_data: bytes) -> bytes:
    return b"s" * SIGNATURE_BYTES


def frame(**changes: object) -> bytes:
    """A frame that is valid except for the changed fields."""
    fields: dict[str, object] = {
        "mesh": COMMITTEE.mesh,
        "epoch": 0,
        "seal": b"",
        "level": 1,
        "round": 1,
        "author": 0,
        "parents": PARENTS,
        "payload": b"",
        "time_ms": 5,
        "attestation": NO_ATTESTATION,
    }
    assert changes.keys() <= fields.keys()
    return msgspec.msgpack.encode(list((fields | changes).values())) + b"s" * SIGNATURE_BYTES


def test_a_decoded_block_equals_the_encoded_one() -> None:
    attestation = Attestation(64, b"d" * 32)
    made = make(COMMITTEE, 1, 0, PARENTS, b"orders", 7, attestation, sign)
    read = decode(made.frame, COMMITTEE)
    assert (read.ref, read.parents, read.payload) == (made.ref, PARENTS, b"orders")
    assert (read.time_ms, read.attestation, read.frame) == (7, attestation, made.frame)


def test_the_digest_covers_everything_but_the_signature() -> None:
    one = decode(frame(), COMMITTEE)
    assert decode(frame()[:-1] + b"x", COMMITTEE).ref == one.ref
    assert decode(frame(time_ms=6), COMMITTEE).ref.digest != one.ref.digest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mesh": b"n" * 16}, "expected mesh"),
        ({"epoch": 1}, "epoch 1"),
        ({"seal": b"s" * 32}, "expected seal"),
        ({"level": 2}, "and 2"),
        ({"round": 0}, "no such slot"),
        ({"round": -1}, "no such slot"),
        ({"author": 4}, "no such slot"),
        ({"payload": bytes(PAYLOAD_BYTES_MAX + 1)}, "a payload has at most"),
        ({"time_ms": -1}, "not a time"),
        ({"attestation": (64, b"short")}, "an attestation is"),
        ({"attestation": (0, b"d" * 32)}, "an attestation is"),
        ({"parents": ()}, "the first parent"),
        ({"parents": PARENTS[1:]}, "the first parent"),
        ({"parents": (*PARENTS, PARENTS[3])}, "one parent per author"),
        ({"parents": (PARENTS[0], PARENTS[2], PARENTS[1])}, "one parent per author"),
        ({"parents": PARENTS[:2]}, "at least 3 parents stand at round 0; got 2"),
        ({"round": 2}, "at least 3 parents stand at round 1; got 0"),
        ({"parents": (*PARENTS[:3], Ref(1, 3, b"d" * 32))}, "of a lower round"),
        ({"parents": (*PARENTS[:3], Ref(0, 3, b"d"))}, "with a 32-byte digest"),
        ({"parents": (*PARENTS[:3], Ref(0, 9, b"d" * 32))}, "authors are 0 to 3"),
        ({"parents": "no"}, "not a block"),
    ],
)
def test_an_invalid_block_is_refused_with_a_reason(changes: dict[str, object], reason: str) -> None:
    """ORDER-1, ORDER-42."""
    with pytest.raises(InvalidBlockError, match=reason) as raised:
        decode(frame(**changes), COMMITTEE)
    assert isinstance(raised.value, OtherEpochError) == ("epoch" in changes)


def test_a_second_encoding_of_a_block_is_refused() -> None:
    """ORDER-2."""
    good = frame(time_ms=5)
    body = msgspec.msgpack.decode(good[:-SIGNATURE_BYTES])
    at = good.index(b"\x05\x92")  # time_ms 5, then the attestation's array
    assert body[8] == 5
    longer = good[:at] + b"\xcc\x05" + good[at + 1 :]
    assert msgspec.msgpack.decode(longer[:-SIGNATURE_BYTES]) == body
    with pytest.raises(InvalidBlockError, match="canonical encoding"):
        decode(longer, COMMITTEE)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(InvalidBlockError):
        decode(noise + b"s" * SIGNATURE_BYTES, COMMITTEE)


@given(st.integers(0, len(frame()) - SIGNATURE_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_makes_another_block(at: int, change: int) -> None:
    good = bytearray(frame())
    good[at] ^= change
    try:
        read = decode(bytes(good), COMMITTEE)
    except InvalidBlockError:
        return
    assert read.ref.digest != decode(frame(), COMMITTEE).ref.digest
