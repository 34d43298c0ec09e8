"""Signed commands: what is signed, and which are good."""

import json
import random
import shutil
import subprocess
from base64 import urlsafe_b64decode
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from engine import (
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Reason,
    Rejected,
    Side,
    Submit,
)
from peer.consensus.block import Block, Ref
from peer.replica.batch import command_id
from peer.replica.nonces import VALID_MS_MAX
from peer.replica.signature_cache import AHEAD_MAX, VERDICTS_MAX, SignatureCache
from peer.replica.signed import (
    KEY_PREFIX,
    Entry,
    Signed,
    account_of_key,
    is_signed_by,
    key_of_account,
    text_of,
)
from tests.support.real_mesh import MARKET
from tests.support.signing import (
    ACCOUNT,
    ENCODE,
    HOSTILE,
    IDENTITY,
    KINDS,
    MESH,
    NOW_MS,
    OTHER,
    Peer,
    buy,
    signer,
)


def test_what_is_signed_is_one_line_of_json() -> None:
    command = Submit(9, ACCOUNT, MARKET, Side.SELL, 5, 100, client_id="mine")
    assert text_of("ab", command, 1, 2).decode() == (
        '["p2p-orderbook command v1","ab",1,2,"Submit",'
        f'"{ACCOUNT}","BTC-USD",1,5,100,0,0,false,0,0,0,0,"mine"]'
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_javascript_writes_the_same_bytes() -> None:
    rng = random.Random(1)
    places = [c for c in range(0x20000) if not 0xD800 <= c < 0xE000]
    names = HOSTILE + ["".join(map(chr, rng.sample(places, 40))) for _ in range(200)]
    commands = KINDS + [CancelAll(0, name, name[:9]) for name in names]
    texts = [text_of(MESH.hex(), command, NOW_MS, 2**53 - 1) for command in commands]
    script = (
        "const lines = JSON.parse(require('fs').readFileSync(0));"
        "const hex = (line) => Buffer.from(JSON.stringify(line)).toString('hex');"
        "console.log(JSON.stringify(lines.map(hex)))"
    )
    said = json.dumps([json.loads(text) for text in texts]).encode()  # spelt in another way
    done = subprocess.run(["node", "-e", script], input=said, capture_output=True, check=True)
    assert [bytes.fromhex(line) for line in json.loads(done.stdout)] == texts


def test_no_two_commands_have_one_text() -> None:
    texts = {text_of("m", command, 1, 2) for command in KINDS}
    for command in KINDS:
        for name in command.__struct_fields__[1:]:
            value = getattr(command, name)
            other = f"{value}1" if isinstance(value, str) else 1 if value is None else value + 2
            texts.add(text_of("m", msgspec.structs.replace(command, **{name: other}), 1, 2))
    assert len(texts) == len(KINDS) + sum(len(c.__struct_fields__) - 1 for c in KINDS)


def test_a_key_has_one_name() -> None:
    assert len(ACCOUNT) == 51
    assert key_of_account(ACCOUNT) == IDENTITY.public
    again = ACCOUNT[:-1] + chr(ord(ACCOUNT[-1]) + 1)  # two of its six bits are to spare
    assert urlsafe_b64decode(again.removeprefix(KEY_PREFIX) + "=") == IDENTITY.public
    for wrong in (again, ACCOUNT + "=", ACCOUNT + "A", ACCOUNT[:-1], KEY_PREFIX, "é", "ann", ""):
        assert key_of_account(wrong) is None, wrong


def test_a_weak_key_signs_nothing() -> None:
    """A point of small order: its holder could name one signature that fits many texts."""
    weak = account_of_key(b"\x01" + bytes(31))
    assert not is_signed_by(weak, b"any", b"\x01" + bytes(63))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": buy("ann")}, "expected an account named ed25519:…"),
        ({"command": Cancel(0, ACCOUNT, -1)}, "expected an order's id"),
        ({"signature": b"s" * 63}, "expected a signature of 64 bytes, got 63"),
        ({"nonce": 0}, "expected nonce and until_ms from 1"),
        ({"until_ms": 2**53}, "expected nonce and until_ms from 1"),
    ],
)
def test_an_invalid_signed_command_is_refused(changes: dict[str, Any], words: str) -> None:
    good = signer().sign(buy())
    with pytest.raises(ValueError, match=words):
        msgspec.structs.replace(good, **changes).__post_init__()
    fields: Any = [16, *msgspec.structs.astuple(good)]
    for name, value in changes.items():
        fields[1 + good.__struct_fields__.index(name)] = value
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.msgpack.decode(ENCODE(fields), type=Entry)


# Which are good


def test_a_signed_order_is_applied_like_any_other() -> None:
    peer, sign = Peer(), signer().sign
    [[accepted], [rested]] = peer.apply(sign(buy(client_id="é")), buy("ann"))
    assert (type(accepted), accepted.account, accepted.client_id) == (Accepted, ACCOUNT, "é")
    assert type(rested) is Accepted
    [[cancelled]] = peer.apply(sign(Cancel(0, ACCOUNT, accepted.id)))
    assert type(cancelled) is Cancelled


def forged() -> dict[str, tuple[Entry, Reason]]:
    good = signer().sign(buy())
    replace = msgspec.structs.replace
    dear = replace(good, command=replace(good.command, price=101))
    later = replace(good, until_ms=good.until_ms + 1)
    bit = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    bad = Reason.BAD_SIGNATURE
    return {
        "plain": (buy(), Reason.NOT_SIGNED),
        "a cancel": (Cancel(0, ACCOUNT, 256), Reason.NOT_SIGNED),
        "no key": (buy(KEY_PREFIX + "x"), Reason.NOT_SIGNED),
        "altered": (dear, bad),
        "longer": (later, bad),
        "another nonce": (replace(good, nonce=good.nonce + 1), bad),
        "one bit": (replace(good, signature=bit), bad),
        "another account": (replace(good, command=buy(OTHER)), bad),
        "a name of no key": (replace(good, command=buy(KEY_PREFIX + "x")), bad),
        "another mesh": (signer(mesh=b"o" * 16).sign(buy()), bad),
        "another kind": (replace(good, command=Cancel(0, ACCOUNT, 256)), bad),
    }


@pytest.mark.parametrize("how", forged())
def test_a_command_without_a_valid_signature_is_rejected_and_uses_no_nonce(how: str) -> None:
    entry, reason = forged()[how]
    peer = Peer()
    before = peer.replica.exchange.digest()
    peer.apply(buy("ann"))
    [[_], [refused]] = peer.apply(buy("ann"), entry)
    assert refused == Rejected(command_id(3, 0), entry.account, reason)
    assert peer.replica.signers.seats == {}
    assert peer.reasons(signer().sign(buy())) == [None]
    assert peer.replica.exchange.digest() != before


def test_a_signature_is_valid_once() -> None:
    peer, good, later = Peer(), signer().sign(buy()), signer(NOW_MS + 5).sign(buy())
    used = Reason.NONCE_USED
    assert peer.reasons(good, good, later, good) == [None, used, None, used]
    assert peer.reasons(signer(NOW_MS + 4).sign(buy())) == [Reason.NONCE_USED]


def test_a_signature_that_the_market_rejects_is_used_too() -> None:
    peer, none = Peer(), signer().sign(Cancel(0, ACCOUNT, 99))
    assert peer.reasons(none, none) == [Reason.UNKNOWN_ORDER, Reason.NONCE_USED]


@pytest.mark.parametrize(
    ("nonce_after", "until_after", "good"),
    [
        (0, 1, True),
        (0, 0, False),  # over, the moment its time comes
        (-VALID_MS_MAX + 1, 1, True),
        (-VALID_MS_MAX, 1, False),  # for more than a day
        (0, VALID_MS_MAX, True),
        (1, VALID_MS_MAX + 1, False),  # ends too late by the clock
        (5, 5, False),  # over before it begins
        (VALID_MS_MAX, VALID_MS_MAX + 1, False),
    ],
)
def test_a_signature_expires(nonce_after: int, until_after: int, good: bool) -> None:
    made = signer(NOW_MS + nonce_after).sign(buy(), until_after - nonce_after)
    assert Peer().reasons(made) == [None if good else Reason.SIGNATURE_EXPIRED]


def forged_and_good() -> tuple[list[Signed], list[bool]]:
    good = [signer(NOW_MS + n).sign(buy()) for n in range(3)]
    bad = [msgspec.structs.replace(entry, signature=b"s" * 64) for entry in good]
    return [*good, *bad], [True] * 3 + [False] * 3


def test_a_signature_checked_ahead_gives_the_same_result() -> None:
    entries, expected = forged_and_good()
    in_time, ahead, partly = SignatureCache(MESH), SignatureCache(MESH), SignatureCache(MESH)
    ahead.verify_ahead(entries)
    partly.verify_ahead(entries[1:4])
    partly.verify_ahead(entries)
    for verdicts in (in_time, ahead, partly):
        for _ in range(2):
            assert [verdicts.is_valid(entry) for entry in entries] == expected


def test_a_signature_is_verified_once() -> None:
    """What is known is not found out again, not even if it were wrong."""
    [good, *_], _ = forged_and_good()
    verdicts = SignatureCache(MESH)
    assert verdicts.is_valid(good)
    [name] = verdicts._known
    verdicts._known[name] = False
    verdicts.verify_ahead([good])
    assert not verdicts.is_valid(good)


def test_the_signature_cache_is_bounded() -> None:
    verdicts, later = SignatureCache(MESH), signer().sign(buy())
    verdicts._known = {n.to_bytes(4, "big"): True for n in range(VERDICTS_MAX)}
    assert verdicts.is_valid(later)
    assert len(verdicts._known) == VERDICTS_MAX
    never: Future[list[bool]] = Future()
    verdicts._ahead = [never] * AHEAD_MAX
    verdicts.verify_ahead(forged_and_good()[0])
    assert len(verdicts._known) == VERDICTS_MAX, "the thread has enough to do"
    assert not any(isinstance(known, tuple) for known in verdicts._known.values())


def test_an_invalid_batch_is_not_verified_ahead() -> None:
    peer = Peer()
    for payload in (b"", b"ed25519:", ENCODE((1, [[16, [0, ACCOUNT]]]))):
        peer.replica.verify_ahead(Block(Ref(1, 0, b"d" * 32), (), payload))
    assert peer.replica.invalid_payloads == 0
