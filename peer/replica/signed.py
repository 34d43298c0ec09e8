"""Commands signed by their traders: whose must be, and what exactly is signed.

Owns the self-certifying account, the signed command and its text, and the one thing that can be
done to such an account's orders without: their removal. Must never keep state, know a market, or
hold a secret. Pure.

An account named after an Ed25519 public key belongs to the holder of the private key: every peer
applies its commands only with a signature by that key, so not even the peer that takes a command
can forge or change it. `docs/security.md` has the rules as a trader sees them.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

import msgspec
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from engine import TIME_MS_MAX, Cancel, CancelAll, Command
from peer.consensus.block import SIGNATURE_BYTES

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
    payload. ValueError for what can be none."""

    command: Command  # its `id` is not signed: the peer that takes it gives that
    nonce: int  # milliseconds since 1970, above that of the account's last command
    until_ms: int  # from when on, by the ordered clock, it is refused
    signature: bytes

    def __post_init__(self) -> None:
        if not self.command.account.startswith(KEY_PREFIX):
            raise ValueError(f"only an account named {KEY_PREFIX}… signs, not {self.account!r:.70}")
        if getattr(self.command, "order", 0) < 0:
            raise ValueError("a signed command names orders by their ids, not by their places")
        if len(self.signature) != SIGNATURE_BYTES:
            text = f"a signature has {SIGNATURE_BYTES} bytes, not {len(self.signature)}"
            raise ValueError(text)
        if not (0 < self.nonce <= TIME_MS_MAX and 0 < self.until_ms <= TIME_MS_MAX):
            raise ValueError("nonce and until_ms are milliseconds since 1970")

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
    """The member through which orders of a key account came cancels them: its block is its word.
    Of others' orders it can do nothing, and nothing but this without the key. ValueError for an
    account that is no key: its orders are cancelled as such."""

    command: Cancel | CancelAll

    def __post_init__(self) -> None:
        if not self.command.account.startswith(KEY_PREFIX):
            raise ValueError(f"orders of {KEY_PREFIX}… are removed, not {self.account!r:.70}")

    @property
    def id(self) -> int:
        return self.command.id

    @property
    def account(self) -> str:
        return self.command.account


Entry = Command | Signed | Removal  # what stands in a payload


def command_of(entry: Entry) -> Command:
    return entry.command if isinstance(entry, Signed | Removal) else entry


def with_id(entry: Entry, id_: int) -> Entry:
    """The same with an id; a signature stays good."""
    if isinstance(entry, Signed | Removal):
        named = msgspec.structs.replace(entry.command, id=id_)
        return msgspec.structs.replace(entry, command=named)
    return msgspec.structs.replace(entry, id=id_)


def account_of_key(public: bytes) -> str:
    """The account that belongs to an Ed25519 public key: 51 characters."""
    return KEY_PREFIX + urlsafe_b64encode(public).decode().rstrip("=")


def key_of_account(account: str) -> bytes | None:
    """The public key an account is named after; None if its name is that of no key. A key has one
    name."""
    try:
        public = urlsafe_b64decode(account.removeprefix(KEY_PREFIX) + "=")
    except ValueError:
        return None
    return public if len(public) == KEY_BYTES and account_of_key(public) == account else None


def text_of(mesh: str, command: Command, nonce: int, until_ms: int) -> bytes:
    """What is signed: a JSON array without spaces, in UTF-8, as JavaScript's JSON.stringify writes
    it too. `mesh` is the mesh id in hex; after the command's kind come all its fields but `id`."""
    kind, fields = type(command).__name__, msgspec.structs.astuple(command)[1:]
    return _text(COMMAND_DOMAIN, mesh, nonce, until_ms, kind, *fields)


def statement_of(mesh: str, peer: str, account: str, nonce: int, until_ms: int) -> bytes:
    """What is signed to read an account's orders at one peer."""
    return _text(STATEMENT_DOMAIN, mesh, nonce, until_ms, peer, account)


def _text(*items: object) -> bytes:
    return json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()


def is_signed_by(account: str, text: bytes, signature: bytes) -> bool:
    """Whether the signature is that of a key account's owner. Takes some 60 µs."""
    public = key_of_account(account)
    if public is None:
        return False
    try:
        VerifyKey(public).verify(text, signature)
    except (CryptoError, ValueError):
        return False
    return True


def needs_signature(command: Entry) -> bool:
    """Whether a command without a signature is refused. A cancel of nothing is not: a peer puts it
    into the place of a command that was withdrawn, and it does nothing."""
    if type(command) is Removal or (type(command) is Cancel and command.order == 0):
        return False
    return command.account.startswith(KEY_PREFIX)


def concerns_keys(payloads: Iterable[bytes]) -> bool:
    """Whether key accounts may be in payloads; if not, all commands there are plain."""
    return any(KEY_MARK in payload for payload in payloads)
