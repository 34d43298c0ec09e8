"""Commands signed by their traders: which commands need a signature, and what exactly it covers.

Owns the self-certifying account, the signed command and its text, and the removal: the one thing
that needs no signature of such an account. Must never keep state, know a market, or hold a secret.
Pure.

An account named after an Ed25519 public key belongs to the holder of the private key. Every peer
applies its commands only with a signature by that key. So not even the peer that takes a command
can forge or change it. `docs/security.md` has the rules for traders.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import overload

import msgspec
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from engine import TIME_MS_MAX, Cancel, CancelAll, Command
from peer.consensus.block import SIGNATURE_BYTES
from peer.replica.changes import Vote
from peer.replica.handover import Notice

KEY_PREFIX = "ed25519:"
KEY_MARK = KEY_PREFIX.encode()  # in the bytes of every command of a key account
KEY_BYTES = 32
COMMAND_DOMAIN = "p2p-orderbook command v1"
STATEMENT_DOMAIN = "p2p-orderbook session v1"


class Signed(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=16,
):
    """A command of a key account with its owner's signature, beside the plain commands of a
    payload. ValueError for impossible fields."""

    command: Command  # its `id` is not signed: the peer that takes it assigns it
    nonce: int  # milliseconds since 1970, above that of the account's last command
    until_ms: int  # peers refuse it from this time of the ordered clock
    signature: bytes

    def __post_init__(self) -> None:
        if not self.command.account.startswith(KEY_PREFIX):
            raise ValueError(f"expected an account named {KEY_PREFIX}…, got {self.account!r:.70}")
        if getattr(self.command, "order", 0) < 0:
            raise ValueError(
                "expected an order's id in a signed command, got a place in the request"
            )
        if len(self.signature) != SIGNATURE_BYTES:
            text = f"expected a signature of {SIGNATURE_BYTES} bytes, got {len(self.signature)}"
            raise ValueError(text)
        if not (0 < self.nonce <= TIME_MS_MAX and 0 < self.until_ms <= TIME_MS_MAX):
            raise ValueError(
                f"expected nonce and until_ms from 1 to {TIME_MS_MAX}, got "
                f"{self.nonce} and {self.until_ms}"
            )

    @property
    def id(self) -> int:
        return self.command.id

    @property
    def account(self) -> str:
        return self.command.account


class Removal(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=17,
):
    """A member cancels orders of a key account that it took. Its signed block is the authority. It
    can't cancel orders that other members took, and can do nothing else without the key.
    ValueError for another account: its orders need a plain cancel."""

    command: Cancel | CancelAll

    def __post_init__(self) -> None:
        if not self.command.account.startswith(KEY_PREFIX):
            raise ValueError(f"expected an account named {KEY_PREFIX}…, got {self.account!r:.70}")

    @property
    def id(self) -> int:
        return self.command.id

    @property
    def account(self) -> str:
        return self.command.account


Entry = Command | Signed | Removal  # what a client may send
Own = Vote | Notice  # what only a member itself puts into its blocks
Item = Entry | Own  # one item of a payload
_WRAPPED = (Signed, Removal)  # a tuple, since Python builds `A | B` again at each use


@overload
def command_of(entry: Entry) -> Command: ...
@overload
def command_of(entry: Item) -> Command | Own: ...
def command_of(entry: Item) -> Command | Own:
    return entry.command if isinstance(entry, _WRAPPED) else entry


def with_id(entry: Item, id_: int) -> Item:
    """The same entry with this id. A signature stays valid."""
    if isinstance(entry, _WRAPPED):
        named = msgspec.structs.replace(entry.command, id=id_)
        return msgspec.structs.replace(entry, command=named)
    return msgspec.structs.replace(entry, id=id_)


def account_of_key(public: bytes) -> str:
    """The account of an Ed25519 public key: 51 characters."""
    return KEY_PREFIX + urlsafe_b64encode(public).decode().rstrip("=")


def key_of_account(account: str) -> bytes | None:
    """The public key in an account's name; None if the name has no key. A key has exactly one
    name."""
    try:
        public = urlsafe_b64decode(account.removeprefix(KEY_PREFIX) + "=")
    except ValueError:
        return None
    return public if len(public) == KEY_BYTES and account_of_key(public) == account else None


def text_of(mesh: str, command: Command, nonce: int, until_ms: int) -> bytes:
    """What a trader signs: a JSON array without spaces, in UTF-8, as JavaScript's JSON.stringify
    writes it. `mesh` is the mesh id in hex. All fields but `id` follow the command's kind."""
    kind, fields = type(command).__name__, msgspec.structs.astuple(command)[1:]
    return _text(COMMAND_DOMAIN, mesh, nonce, until_ms, kind, *fields)


def statement_of(mesh: str, peer: str, account: str, nonce: int, until_ms: int) -> bytes:
    """What a trader signs to read an account's orders at one peer."""
    return _text(STATEMENT_DOMAIN, mesh, nonce, until_ms, peer, account)


def _text(*items: object) -> bytes:
    return json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()


def is_signed_by(account: str, text: bytes, signature: bytes) -> bool:
    """Whether a key account's owner made the signature. Takes about 60 µs."""
    public = key_of_account(account)
    if public is None:
        return False
    try:
        VerifyKey(public).verify(text, signature)
    except (CryptoError, ValueError):
        return False
    return True


def needs_signature(command: Entry) -> bool:
    """Whether peers refuse a command without a signature. They accept a cancel of order 0, which
    does nothing: a peer replaces a withdrawn command with it."""
    if type(command) is Removal or (type(command) is Cancel and command.order == 0):
        return False
    return command.account.startswith(KEY_PREFIX)


def concerns_keys(payloads: Iterable[bytes]) -> bool:
    """Whether payloads may name key accounts. If not, all their commands are plain."""
    return any(KEY_MARK in payload for payload in payloads)
