"""The proofs of API keys: one for each key, few at once, and none outlives its key."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.web_gateway import running_gateway, stand_in, wait_for
from web.auth.keys import KEYS_FILE, Credential, Keys, Scope
from web.auth.proofs import AT_ONCE_MAX, KEY_PROOFS_MAX, Proofs
from web.contract.problems import Problem

CROWD = 64
HASH_KB = 64 * 1024  # of memory that one hash takes


class Safe:
    """Claims whose proofs last until `open` is set; the right secret is "right"."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.under_way: list[str] = []
        self.most = 0
        self.proofs = 0

    def claim(self, token: str) -> "Claim | None":
        name, _, secret = token.partition(":")
        return Claim(Credential("keys", name), secret, self) if secret else None


class Claim(NamedTuple):
    credential: Credential
    secret: str
    safe: Safe

    def is_true(self) -> bool:
        self.safe.proofs += 1
        self.safe.under_way.append(self.credential.name)
        self.safe.most = max(self.safe.most, len(self.safe.under_way))
        self.safe.open.wait(10)
        self.safe.under_way.remove(self.credential.name)
        return self.secret == "right"


@pytest.fixture
def safe() -> Iterator[Safe]:
    safe = Safe()
    yield safe
    safe.open.set()


def test_one_proof_serves_all_that_wait_for_it(safe: Safe) -> None:
    proofs = Proofs(safe.claim)
    with ThreadPoolExecutor(CROWD) as crowd:
        answers = [crowd.submit(proofs.of_token, "ann:right") for _ in range(CROWD)]
        wait_for("the proof", lambda: safe.under_way)
        time.sleep(0.1)
        safe.open.set()
        assert {answer.result(10) for answer in answers} == {Credential("keys", "ann")}
    assert safe.proofs == 1
    assert proofs.known("ann:right") == Credential("keys", "ann")
    assert proofs.known("ann:wrong") is None


def test_few_proofs_run_at_once_and_a_stranger_waits_for_none(safe: Safe) -> None:
    proofs = Proofs(safe.claim)
    with ThreadPoolExecutor(CROWD) as crowd:
        answers = [crowd.submit(proofs.of_token, f"{n}:right") for n in range(CROWD)]
        wait_for("proofs", lambda: len(safe.under_way) == AT_ONCE_MAX)
        assert proofs.of_token("no such key") is None
        safe.open.set()
        assert [answer.result(10) for answer in answers] == [
            Credential("keys", str(n)) for n in range(CROWD)
        ]
    assert safe.most == AT_ONCE_MAX
    assert safe.proofs == CROWD


def test_who_guesses_one_key_takes_few_places_of_others(safe: Safe) -> None:
    proofs = Proofs(safe.claim)
    with ThreadPoolExecutor(CROWD) as crowd:
        guesses = [crowd.submit(proofs.of_token, f"ann:{n}") for n in range(KEY_PROOFS_MAX)]
        wait_for("proofs", lambda: len(safe.under_way) == AT_ONCE_MAX)
        with pytest.raises(Problem, match="API key"):
            proofs.of_token("ann:another")
        bob = crowd.submit(proofs.of_token, "bob:right")
        safe.open.set()
        assert bob.result(10) == Credential("keys", "bob")
        assert {guess.result(10) for guess in guesses} == {None}
    assert proofs.of_token("ann:right") == Credential("keys", "ann")


def test_a_failed_proof_is_not_remembered(safe: Safe) -> None:
    proofs = Proofs(safe.claim)
    safe.open.set()
    assert proofs.of_token("ann:wrong") is None
    assert proofs.known("ann:wrong") is None
    assert proofs.of_token("ann:wrong") is None
    assert safe.proofs == 2
    assert proofs.of_token("ann:right") is not None


def test_no_proof_outlives_its_key(tmp_path: Path) -> None:
    """Nor a key under the same id with another secret."""
    keys = Keys(tmp_path / KEYS_FILE)
    proofs, token = Proofs(keys.claim), keys.create("ann", [Scope.TRADE])
    first = proofs.of_token(token)
    assert keys.who(first) is not None
    assert token.encode() not in repr(vars(proofs)).encode(), "no token is kept"
    keys.create("bob", [Scope.TRADE], token[:-4] + "abcd")
    assert keys.who(first) is None
    assert keys.who(proofs.known(token)) is None
    assert proofs.of_token(token) is None
    second = proofs.of_token(token[:-4] + "abcd")
    assert keys.who(second) is not None
    assert keys.revoke(token.split("_")[1])
    assert keys.who(second) is None
    keys.close()


def test_a_crowd_with_new_keys_is_let_in_with_little_memory(tmp_path: Path) -> None:
    with stand_in(tmp_path), running_gateway(tmp_path) as gateway:

        def ask(bearer: str) -> int:
            return gateway.ask("GET", "/session", headers={"Authorization": bearer}).status

        def peak_kb() -> int:
            status = Path(f"/proc/{gateway.process.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0])

        with ThreadPoolExecutor(CROWD) as crowd:
            before = peak_kb()
            assert set(crowd.map(ask, [gateway.bearer] * CROWD)) == {200}
            ones = [f"Bearer {gateway.keys.create(f'a{n}', [Scope.READ])}" for n in range(16)]
            assert set(crowd.map(ask, ones)) == {200}
            assert peak_kb() - before < (AT_ONCE_MAX + 1) * HASH_KB
