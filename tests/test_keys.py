"""Keys, links and sessions: what they open, for how long, and what is kept of them."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from peer import keys as module
from peer.__main__ import main
from peer.keys import KEYS_FILE, SESSIONS_MAX, Credential, Keys, KeysError, Scope, Who


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    keys = Keys(tmp_path / KEYS_FILE)
    yield keys
    keys.close()


def test_a_key_stands_for_its_account_until_it_is_revoked(keys: Keys) -> None:
    token = keys.create("ann", [Scope.TRADE])
    found = keys.of_token(token)
    assert found is not None
    assert keys.verified(token) == found
    assert keys.who(found) == Who("ann", frozenset({Scope.TRADE}))
    [info] = keys.list()
    assert token.split("_")[1] == info.id
    assert keys.revoke(info.id)
    assert not keys.revoke(info.id)
    assert keys.who(found) is None
    assert keys.of_token(token) is None


@pytest.mark.parametrize(
    "wrong", ["", "p2p", "p2p__x", "x_1_2", "p2p_nobody_x", "p2p_" + "x" * 200]
)
def test_what_is_no_key_opens_nothing(keys: Keys, wrong: str) -> None:
    token = keys.create("ann", [Scope.READ])
    assert keys.of_token(wrong) is None
    assert keys.of_token(token[:-1]) is None
    assert keys.verified(token) is None, "never shown, never verified"


@pytest.mark.parametrize(
    ("scopes", "read", "trade", "others"),
    [
        ([Scope.READ], True, False, False),
        ([Scope.TRADE], True, True, False),
        ([Scope.ADMIN], True, True, True),
    ],
)
def test_scopes(scopes: list[Scope], read: bool, trade: bool, others: bool) -> None:
    who = Who("ann", frozenset(scopes))
    assert (who.may(Scope.READ, "ann"), who.may(Scope.TRADE, "ann")) == (read, trade)
    assert (who.may(Scope.READ, "bob"), who.may(Scope.TRADE, "bob")) == (others, others)


def test_a_link_opens_one_session(keys: Keys) -> None:
    token = keys.link("ann", [Scope.TRADE])
    session = keys.redeem(token)
    assert session is not None
    assert keys.redeem(token) is None
    assert keys.who(keys.of_session(session)) == Who("ann", frozenset({Scope.TRADE}))
    assert keys.who(keys.of_session(session + "x")) is None
    keys.end(keys.of_session(session))
    assert keys.who(keys.of_session(session)) is None


def test_links_and_sessions_grow_old(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    link, other = keys.link("ann", [Scope.READ]), keys.link("ann", [Scope.READ])
    session = keys.redeem(other)
    assert session is not None
    now_ms = module._now_ms()
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.LINK_SECONDS + 1)
    assert keys.redeem(link) is None
    assert keys.who(keys.of_session(session)) is not None
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.SESSION_SECONDS + 1)
    assert keys.who(keys.of_session(session)) is None


def test_the_oldest_session_makes_room(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**12, 10**12 + 10**6))
    monkeypatch.setattr(module, "_now_ms", lambda: next(times))
    sessions = [keys.redeem(keys.link("ann", [Scope.READ])) for _ in range(SESSIONS_MAX + 1)]
    assert None not in sessions
    first, second = (keys.who(keys.of_session(str(s))) for s in sessions[:2])
    assert first is None
    assert second is not None


def test_whoever_shows_a_key_reads_and_pushes_out_nobody_with_a_link(keys: Keys) -> None:
    session = keys.redeem(keys.link("ann", [Scope.TRADE]))
    assert session is not None
    ann = keys.of_session(session)
    readers = [keys.open_reader(f"ed25519:{n}", None) for n in range(SESSIONS_MAX + 1)]
    assert keys.who(keys.of_session(str(readers[0]))) is None, "the oldest made room"
    newest = keys.of_session(str(readers[-1]))
    assert keys.who(newest) == Who(f"ed25519:{SESSIONS_MAX}", frozenset({Scope.READ}))
    assert keys.open_reader("ed25519:ann", ann) is None
    who = keys.who(ann)
    assert who == Who("ann", frozenset({Scope.TRADE}), "ed25519:ann")
    assert who.may(Scope.READ, "ed25519:ann")
    assert not who.may(Scope.TRADE, "ed25519:ann")
    assert keys.open_reader("ed25519:other", ann) is None
    assert keys.who(ann) == Who("ann", frozenset({Scope.TRADE}), "ed25519:other")


def test_to_read_with_a_key_is_for_a_day(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    session = keys.redeem(keys.link("ann", [Scope.TRADE]))
    ann, stranger = keys.of_session(str(session)), keys.open_reader("ed25519:s", None)
    keys.open_reader("ed25519:a", ann)
    now_ms = module._now_ms()
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.READER_SECONDS + 1)
    assert keys.who(keys.of_session(str(stranger))) is None
    assert keys.who(ann) == Who("ann", frozenset({Scope.TRADE}))


def test_no_session_no_reader_is_left(tmp_path: Path, keys: Keys) -> None:
    for account in ("a", "b"):
        session = keys.of_session(str(keys.open_reader(account, None)))
        keys.open_reader(f"{account}2", session)
        with sqlite3.connect(tmp_path / KEYS_FILE) as db:
            assert db.execute("SELECT account FROM readers").fetchall() == [(f"{account}2",)]
        db.close()
        keys.end(session)


def test_no_secret_is_in_the_file_and_nobody_else_reads_it(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / KEYS_FILE
    key, link = keys.create("ann", [Scope.TRADE]), keys.link("ann", [Scope.TRADE])
    session = keys.redeem(keys.link("ann", [Scope.TRADE]))
    stored = b"".join(file.read_bytes() for file in tmp_path.glob(f"{KEYS_FILE}*"))
    for secret in (key.rpartition("_")[2], link, session):
        assert str(secret).encode() not in stored
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT hash FROM keys").fetchone()[0].startswith(b"$argon2id$")
    db.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeysError, match="can be read by others"):
        Keys(path)


def test_a_key_can_be_known_to_several_peers_of_one_owner(tmp_path: Path, keys: Keys) -> None:
    token = keys.create("ann", [Scope.TRADE])
    other = Keys(tmp_path / "other.db")
    assert other.create("ann", [Scope.TRADE], token) == token
    assert other.who(other.of_token(token)) == Who("ann", frozenset({Scope.TRADE}))
    assert other.cookie != keys.cookie, "browsers keep cookies by host, whatever the port"
    with pytest.raises(KeysError, match="looks like"):
        other.create("ann", [Scope.TRADE], "secret")
    other.close()


@pytest.mark.parametrize(("account", "scopes"), [("", ["read"]), ("a b", ["read"]), ("a", ["all"])])
def test_what_cannot_be_granted_is_refused(keys: Keys, account: str, scopes: list[str]) -> None:
    with pytest.raises(KeysError, match="not"):
        keys.create(account, scopes)
    with pytest.raises(KeysError, match="not"):
        keys.link(account, scopes)


def test_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["keys", str(tmp_path), *arguments])
        assert done.exit_code == 0, done.output
        return done.output.strip()

    token = run("create", "ann", "--scope", "read")
    id_ = token.split("_")[1]
    assert run("list").split()[:3] == [id_, "ann", "read"]
    assert run("revoke", id_) == f"revoked {id_}"
    assert run("list") == ""
    link = run("link", "ann", "--at", "http://there")
    assert link.startswith("http://there/?token=")
    keys = Keys(tmp_path / KEYS_FILE)
    session = keys.redeem(link.partition("=")[2])
    assert keys.who(Credential("sessions", module._digest(str(session)))) is not None
    keys.close()
