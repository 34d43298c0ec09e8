"""What of the messages about states is believed to have a sense."""

import random

import msgspec
import pytest

from engine import Cancel, Side, Submit
from peer.client.protocol import FORWARDED_MAX, Queued, Refused
from peer.consensus.block import DIGEST_BYTES, ROUND_MAX
from peer.consensus.committee import MEMBERS_MAX
from peer.membership.admission import admission_request
from peer.membership.identity import Identity
from peer.network import messages
from peer.network.forward_messages import answer_body
from peer.network.messages import (
    PLACE_BYTES,
    REQUEST_BYTES_MAX,
    AdmissionAsked,
    ForwardAnswered,
    ForwardAsked,
    ForwardWanted,
    Offered,
    PartsAsked,
    PartsIn,
)
from peer.replica.signed import Signed, account_of_key
from peer.storage.part_requests import PLACES_MAX, PartsWanted
from peer.storage.state_sync import Manifest
from peer.storage.tree_walk import ROOT, Place

WHO = b"who"
ACCOUNT = account_of_key(b"k" * 32)
PLACES = (ROOT, Place(3 << 60, 60), Place(0x12340, 4), Place(0x12345, 0), Place(2**64 - 1, 0))

encode = msgspec.msgpack.encode


def at(place: Place) -> bytes:
    return place.key.to_bytes(8, "big") + bytes([place.shift])


def test_a_request_for_parts_decodes_to_itself() -> None:
    rng = random.Random(1)
    shifts = [rng.randrange(0, 64, 4) for _ in range(PLACES_MAX - len(PLACES))]
    some = tuple(Place(rng.getrandbits(64) >> shift << shift, shift) for shift in shifts)
    for places in (PLACES, PLACES[:1], PLACES + some):
        wanted = PartsWanted(2, 7, 64, places)
        frames = list(messages.request(wanted))
        assert sum(map(len, frames)) < REQUEST_BYTES_MAX
        assert messages.parse_request(WHO, frames) == PartsAsked(WHO, 7, 64, places)


def test_a_request_for_admission_decodes_to_itself_and_is_of_one_mesh_and_name() -> None:
    """ORDER-54."""
    key = Identity(b"k" * 32)
    asked = admission_request(b"m" * 16, "dave", key.public, key.sign)
    frames = list(messages.admission(asked))
    assert messages.parse_request(WHO, frames) == AdmissionAsked(WHO, asked)
    assert asked.is_genuine(b"m" * 16)
    assert not asked.is_genuine(b"n" * 16)
    assert not msgspec.structs.replace(asked, name="erin").is_genuine(b"m" * 16)
    assert not msgspec.structs.replace(asked, key=b"\0" * 32).is_genuine(b"m" * 16)
    for wrong in (("no name", key.public, b"s" * 64), ("dave", b"k", b"s" * 64), ("dave",), 7):
        assert messages.parse_request(WHO, [b"A", encode(wrong)]) is None


def signed(number: int = 1) -> Signed:
    command = Submit(0, ACCOUNT, "X", Side.BUY, 1, 1, client_id="c" * 32)
    return Signed(command, number, number + 1, b"s" * 64)


def test_forwarded_orders_decode_to_themselves() -> None:
    """ORDER-56."""
    for count in (1, FORWARDED_MAX):
        orders = [signed(number + 1) for number in range(count)]
        frames = list(messages.request(ForwardWanted(2, 7, orders)))
        assert sum(map(len, frames)) < REQUEST_BYTES_MAX
        assert messages.parse_request(WHO, frames) == ForwardAsked(WHO, 7, orders)
    for reply in (Queued([1, 2], [2]), Refused("busy", "later")):
        answer = [answer_body(7, reply)]
        assert list(messages.parse_answer(2, b"E", answer)) == [ForwardAnswered(2, 7, reply)]


@pytest.mark.parametrize(
    "body",
    [
        encode((0, [signed()])),  # no number
        encode((7, [])),
        encode((7, [signed()] * (FORWARDED_MAX + 1))),
        encode((7, [Cancel(0, "ann", 1)])),  # not signed
        encode((7, [encode(signed())])),
        encode((7, [signed()], 1)),
        encode((7, [signed()])).replace(b"ccc", b"c\xffc", 1),  # no text
        b"\xc1",
    ],
)
def test_anything_else_is_no_order_to_forward(body: bytes) -> None:
    assert messages.parse_request(WHO, [b"E", body]) is None
    assert list(messages.parse_answer(2, b"E", [body])) == []


@pytest.mark.parametrize(
    "body",
    [
        encode((0, 64, at(ROOT))),  # no number
        encode((-1, 64, at(ROOT))),
        encode((ROUND_MAX, 64, at(ROOT))),
        encode((7, 0, at(ROOT))),  # no commit
        encode((7, ROUND_MAX, at(ROOT))),
        encode((7, 64, b"")),  # no place
        encode((7, 64, at(ROOT) * (PLACES_MAX + 1))),  # too many
        encode((7, 64, at(ROOT)[:-1])),  # half of one
        encode((7, 64, bytes(2 * PLACE_BYTES - 1))),
        encode((7, 64, at(Place(0, 68)))),  # above the root
        encode((7, 64, at(Place(0, 3)))),  # between two heights
        encode((7, 64, at(Place(1, 4)))),  # not the lowest key there
        encode((7, 64, at(Place(1 << 60, 64)))),
        encode((7, 64)),
        encode((7, 64, at(ROOT), 1)),
        encode((7, 64, "text")),
        encode((7.0, 64, at(ROOT))),
        b"\xc1",
        b"",
    ],
)
def test_an_invalid_request_for_parts_is_refused(body: bytes) -> None:
    assert messages.parse_request(WHO, [b"T", body]) is None


def test_parts_decode_to_themselves() -> None:
    for parts in ([], [b"a"], [b"part"] * PLACES_MAX):
        read = list(messages.parse_answer(1, b"T", [encode((7, 64)), *parts]))
        assert read == [PartsIn(1, 7, 64, parts)]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [encode((7, 64))] + [b"part"] * (PLACES_MAX + 1),
        [encode((0, 64))],
        [encode((7, 0)), b"part"],
        [encode((7, ROUND_MAX)), b"part"],
        [encode((ROUND_MAX, 64)), b"part"],
        [encode((7, 64, 1)), b"part"],
        [encode((7,)), b"part"],
        [b"\xc1", b"part"],
    ],
)
def test_invalid_parts_are_refused(frames: list[bytes]) -> None:
    assert list(messages.parse_answer(1, b"T", frames)) == []


def test_an_offer_decodes_to_itself() -> None:
    manifest = Manifest(64, b"d" * DIGEST_BYTES)
    frames = [encode(manifest), b"one", b"two"]
    assert list(messages.parse_answer(1, b"M", frames)) == [Offered(1, manifest, frames[1:])]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [encode(Manifest(64, b"d" * DIGEST_BYTES))] + [b"frame"] * (MEMBERS_MAX + 1),
        [encode(Manifest(0, b"d" * DIGEST_BYTES))],
        [encode(Manifest(ROUND_MAX, b"d" * DIGEST_BYTES))],
        [encode(Manifest(64, b"d" * (DIGEST_BYTES - 1)))],
        [encode(Manifest(64, b"d" * (DIGEST_BYTES + 1)))],
        [encode(Manifest(64, b"d" * DIGEST_BYTES, -1))],
        [b"\xc1"],
    ],
)
def test_an_invalid_offer_is_refused(frames: list[bytes]) -> None:
    assert list(messages.parse_answer(1, b"M", frames)) == []
