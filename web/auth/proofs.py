"""The proof that a token is an API key: slow by design, so done once for each, and few at a time.

Owns the proofs under way, and which tokens have been proven. Must never keep a token, only its
SHA-256, nor answer for a key that has been revoked: each credential names the row that grants
rights, and `Keys.who` asks for it every time.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import sha256
from typing import Protocol, TypeAlias

from web.auth.keys import Credential
from web.contract.problems import too_many
from web.serve.client_address import release

PROVEN_MAX = 1_000
AT_ONCE_MAX = 2  # each takes a core and 64 MiB, as the hash asks for
KEY_PROOFS_MAX = 4  # different tokens for one key that wait at once: all but one of them are wrong

Proof: TypeAlias = "Future[Credential | None]"


class Claim(Protocol):
    """A token that names a key of this peer."""

    @property
    def credential(self) -> Credential: ...
    def is_true(self) -> bool:
        """Whether it has the key's secret. Slow."""


class Proofs:
    """Thread-safe. `claim` finds the key that a token names, if there is one."""

    def __init__(self, claim: Callable[[str], Claim | None]) -> None:
        self._claim = claim
        self._lock = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE_MAX)
        self._proven: OrderedDict[bytes, Credential] = OrderedDict()  # by the SHA-256 of the token
        self._under_way: dict[bytes, Proof] = {}
        self._of_key: Counter[str] = Counter()  # proofs under way

    def known(self, token: str) -> Credential | None:
        """The credential of a token that was proven before."""
        digest = _digest(token)
        with self._lock:
            if digest not in self._proven:
                return None
            self._proven.move_to_end(digest)
            return self._proven[digest]

    def of_token(self, token: str) -> Credential | None:
        """The credential of a token; None if it is no key of this peer. Slow: ask `known` first.
        All that show the same token wait for one proof. Problem if too many tokens for the same key
        are under way."""
        claim, digest = self._claim(token), _digest(token)
        if claim is None:
            return None
        with self._lock:
            if self._proven.get(digest) == claim.credential:  # meanwhile
                return claim.credential
            proof = self._under_way.get(digest)
            is_first = proof is None
            if proof is None:
                proof = self._begin(claim, digest)
        if is_first:
            self._prove(claim, digest, proof)
        return proof.result()

    def _begin(self, claim: Claim, digest: bytes) -> Proof:
        name = str(claim.credential.name)
        if self._of_key[name] >= KEY_PROOFS_MAX:
            raise too_many(1.0, "wrong tokens for this API key")
        self._of_key[name] += 1
        proof: Proof = Future()
        self._under_way[digest] = proof
        return proof

    def _prove(self, claim: Claim, digest: bytes, proof: Proof) -> None:
        found: Credential | None = None
        try:
            with self._places:
                found = claim.credential if claim.is_true() else None
        finally:
            with self._lock:
                del self._under_way[digest]
                release(self._of_key, str(claim.credential.name))
                if found is not None:
                    self._proven[digest] = found
                    if len(self._proven) > PROVEN_MAX:
                        self._proven.popitem(last=False)
            proof.set_result(found)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
