"""The identity of a peer: an Ed25519 key, and the CURVE key derived from it.

Owns the key file, signing and verifying. Must never pass the secret to anything but libsodium and
libzmq.

Because the CURVE key is derived from the Ed25519 key, the public key in the mesh file is enough to
verify a member's blocks and to connect to that member and no other.
"""

import os
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

KEY_BYTES = 32


class IdentityError(Exception):
    """A key file or public key that can't be used. The text says what was expected."""


class Identity:
    """A key pair. `public` is the 32-byte Ed25519 public key, by which other peers know this
    one."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public = bytes(self._key.verify_key)
        self.curve_secret = bytes(self._key.to_curve25519_private_key())
        self.curve_public = curve_public(self.public)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of `data`."""
        return self._key.sign(data).signature

    @classmethod
    def ephemeral(cls) -> "Identity":
        """A key for this process only."""
        return cls(bytes(SigningKey.generate()))

    @classmethod
    def create(cls, path: Path) -> "Identity":
        """Make a new key in a new file that only its owner can read. IdentityError if the file
        exists."""
        seed = bytes(SigningKey.generate())
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise IdentityError(f"{path} exists: a key is never overwritten") from None
        try:
            with os.fdopen(handle, "w") as file:
                file.write(seed.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise
        return cls(seed)

    @classmethod
    def load(cls, path: Path) -> "Identity":
        try:
            mode = path.stat().st_mode & 0o777
            text = path.read_text().strip()
        except FileNotFoundError:
            raise IdentityError(
                f"no key at {path}: make one with `python -m peer keygen`"
            ) from None
        if mode & 0o077:
            raise IdentityError(f"{path} can be read by others (mode {mode:o}): chmod 600 {path}")
        return cls(parse_key(text, str(path)))


class Verifier:
    """Verifies with one public key, prepared once."""

    def __init__(self, public: bytes) -> None:
        self._key = VerifyKey(public)

    def verify(self, data: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(data, signature)
        except BadSignatureError:
            return False
        return True


def curve_public(public: bytes) -> bytes:
    """The CURVE public key of the peer with this Ed25519 public key."""
    try:
        return bytes(VerifyKey(public).to_curve25519_public_key())
    except Exception:  # libsodium's error has no type of its own
        raise IdentityError(f"{public.hex()} is not an Ed25519 public key") from None


def parse_key(text: str, where: str) -> bytes:
    """The 32 bytes of 64 hex digits. The error names `where`."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IdentityError(f"{where}: a key is 64 hex digits, not {len(text)} characters")
    return key
