"""Keys, links and sessions: what they open, for how long, and what the file keeps."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from peer.cli.main import main
from web.auth import keys as module
from web.auth.keys import (
    ACCOUNT_LINKS_MAX,
    ACCOUNT_SESSIONS_MAX,
    ADDRESS_SESSIONS_MAX,
    KEYS_FILE,
    LINKS_MAX,
    Credential,
    Keys,
    KeysError,
    NoRoomError,
    Principal,
    Scope,
)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    keys = Keys(tmp_path / KEYS_FILE)
    yield keys
    keys.close()


def of_token(keys: Keys, token: str) -> Credential | None:
    """The key of a token, if it is one."""
    claim = keys.claim(token)
    return claim.credential if claim and claim.is_true() else None


def test_a_key_stands_for_its_account_until_it_is_revoked(keys: Keys) -> None:
    token = keys.create("ann", [Scope.TRADE])
    found = of_token(keys, token)
    assert found is not None
    assert keys.who(found) == Principal("ann", frozenset({Scope.TRADE}))
    [info] = keys.list()
    assert token.split("_")[1] == info.id
    assert keys.revoke(info.id)
    assert not keys.revoke(info.id)
    assert keys.who(found) is None
    assert of_token(keys, token) is None


@pytest.mark.parametrize(
    "wrong", ["", "p2p", "p2p__x", "x_1_2", "p2p_nobody_x", "p2p_" + "x" * 200]
)
def test_an_invalid_key_opens_nothing(keys: Keys, wrong: str) -> None:
    token = keys.create("ann", [Scope.READ])
    assert of_token(keys, wrong) is None
    assert of_token(keys, token[:-1]) is None


@pytest.mark.parametrize(
    ("scopes", "read", "trade", "others"),
    [
        ([Scope.READ], True, False, False),
        ([Scope.TRADE], True, True, False),
        ([Scope.ADMIN], True, True, True),
    ],
)
def test_scopes(scopes: list[Scope], read: bool, trade: bool, others: bool) -> None:
    who = Principal("ann", frozenset(scopes))
    assert (who.may(Scope.READ, "ann"), who.may(Scope.TRADE, "ann")) == (read, trade)
    assert (who.may(Scope.READ, "bob"), who.may(Scope.TRADE, "bob")) == (others, others)


def test_a_link_opens_one_session(keys: Keys) -> None:
    token = keys.link("ann", [Scope.TRADE])
    session = keys.redeem(token)
    assert session is not None
    assert keys.redeem(token) is None
    assert keys.who(keys.of_session(session)) == Principal("ann", frozenset({Scope.TRADE}))
    assert keys.who(keys.of_session(session + "x")) is None
    keys.end(keys.of_session(session))
    assert keys.who(keys.of_session(session)) is None


def test_links_and_sessions_expire(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    link, other = keys.link("ann", [Scope.READ]), keys.link("ann", [Scope.READ])
    session = keys.redeem(other)
    assert session is not None
    now_ms = module._now_ms()
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.LINK_SECONDS + 1)
    assert keys.redeem(link) is None
    assert keys.who(keys.of_session(session)) is not None
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.SESSION_SECONDS + 1)
    assert keys.who(keys.of_session(session)) is None


def opened(keys: Keys, account: str, count: int = 1) -> list[Credential]:
    """Sessions opened by links."""
    links = [keys.link(account, [Scope.TRADE]) for _ in range(count)]
    return [keys.of_session(str(keys.redeem(link))) for link in links]


def shown(keys: Keys, address: str, count: int = 1) -> list[Credential]:
    """Sessions of strangers, each opened with another key."""
    accounts = (f"ed25519:{address}/{n}".replace("/", "-") for n in range(count))
    sessions = [keys.open_reader(account, None, address) for account in accounts]
    return [keys.of_session(str(session)) for session in sessions]


def alive(keys: Keys, credentials: list[Credential]) -> list[bool]:
    return [keys.who(credential) is not None for credential in credentials]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a millisecond with every reading."""
    times = iter(range(10**12, 10**12 + 10**6))
    monkeypatch.setattr(module, "_now_ms", lambda: next(times))


@pytest.mark.usefixtures("ticking")
def test_the_oldest_session_of_an_account_makes_room(keys: Keys) -> None:
    bob = opened(keys, "bob")
    ann = [one for _ in range(ACCOUNT_SESSIONS_MAX + 1) for one in opened(keys, "ann")]
    assert alive(keys, ann) == [False] + [True] * ACCOUNT_SESSIONS_MAX
    assert alive(keys, bob) == [True]


@pytest.mark.usefixtures("ticking")
def test_a_client_with_too_many_sessions_ends_only_its_own(keys: Keys) -> None:
    ann, stranger = opened(keys, "ann"), shown(keys, "192.0.2.1")
    flood = shown(keys, "192.0.2.2", ADDRESS_SESSIONS_MAX + 3)
    assert alive(keys, flood) == [False] * 3 + [True] * ADDRESS_SESSIONS_MAX
    assert alive(keys, ann + stranger) == [True, True]


@pytest.mark.usefixtures("ticking")
def test_when_full_holders_with_most_sessions_make_room_and_none_loses_its_last(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = module.TokenLimit("sessions", "address <> ''", "address", 20, 6)
    monkeypatch.setattr(module, "_OWN_KEYS", few)
    ann = opened(keys, "ann")
    many, one = shown(keys, "many", 5), shown(keys, "one")
    others = [shown(keys, f"other{n}")[0] for n in range(4)]
    assert alive(keys, many) == [False] * 4 + [True]
    assert alive(keys, one + others) == [True] * 5
    with pytest.raises(NoRoomError, match="6 sessions of others already"):
        shown(keys, "late")
    [again] = shown(keys, "one")
    assert alive(keys, [*one, again]) == [False, True], "of one's own there is always room"
    assert alive(keys, ann + opened(keys, "bob")) == [True, True], "the others have their own room"


@pytest.mark.usefixtures("ticking")
def test_links_of_one_account_do_not_push_out_others(keys: Keys) -> None:
    ann = keys.link("ann", [Scope.TRADE])
    flood = [keys.link("bob", [Scope.TRADE]) for _ in range(ACCOUNT_LINKS_MAX + 1)]
    assert keys.redeem(flood[0]) is None
    assert keys.redeem(ann) is not None
    for n in range(LINKS_MAX - 1):
        keys.link(f"account{n}", [Scope.READ])
    with pytest.raises(NoRoomError):
        keys.link("late", [Scope.READ])


@pytest.mark.usefixtures("ticking")
def test_a_link_without_room_for_its_session_stays_valid(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "_SESSIONS", module.TokenLimit("sessions", "true", "account", 20, 1)
    )
    [ann] = opened(keys, "ann")
    link = keys.link("bob", [Scope.TRADE])
    with pytest.raises(NoRoomError):
        keys.redeem(link)
    keys.end(ann)
    assert keys.redeem(link) is not None


def test_a_proven_key_may_read_in_the_present_session(keys: Keys) -> None:
    [ann] = opened(keys, "ann")
    [stranger] = shown(keys, "192.0.2.1")
    assert keys.who(stranger) == Principal("ed25519:192.0.2.1-0", frozenset({Scope.READ}))
    assert keys.open_reader("ed25519:ann", ann, "192.0.2.1") is None
    who = keys.who(ann)
    assert who == Principal("ann", frozenset({Scope.TRADE}), "ed25519:ann")
    assert who.may(Scope.READ, "ed25519:ann")
    assert not who.may(Scope.TRADE, "ed25519:ann")
    assert keys.open_reader("ed25519:other", ann, "192.0.2.1") is None
    assert keys.who(ann) == Principal("ann", frozenset({Scope.TRADE}), "ed25519:other")


def test_a_key_file_without_session_addresses_still_works(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    Keys(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE sessions")
    columns = "digest BLOB PRIMARY KEY, account TEXT, scopes TEXT, until_ms INTEGER"
    db.execute(f"CREATE TABLE sessions ({columns}) WITHOUT ROWID")
    db.execute("INSERT INTO sessions VALUES (?, 'ann', 'trade', ?)", (module._digest("x"), 2**50))
    db.commit()
    db.close()
    keys = Keys(path)
    assert keys.who(keys.of_session("x")) == Principal("ann", frozenset({Scope.TRADE}))
    assert alive(keys, shown(keys, "192.0.2.1")) == [True]
    keys.close()


def test_an_account_is_barred_until_it_is_unbarred(keys: Keys) -> None:
    keys.bar("ann")
    keys.bar("ann")
    assert (keys.is_barred("ann"), keys.is_barred("bob"), keys.barred()) == (True, False, ["ann"])
    assert keys.unbar("ann")
    assert not keys.unbar("ann")
    assert not keys.is_barred("ann")


def test_reading_with_a_key_ends_after_a_day(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    session = keys.redeem(keys.link("ann", [Scope.TRADE]))
    ann, stranger = keys.of_session(str(session)), keys.open_reader("ed25519:s", None, "a")
    keys.open_reader("ed25519:a", ann, "a")
    now_ms = module._now_ms()
    monkeypatch.setattr(module, "_now_ms", lambda: now_ms + 1_000 * module.READER_SECONDS + 1)
    assert keys.who(keys.of_session(str(stranger))) is None
    assert keys.who(ann) == Principal("ann", frozenset({Scope.TRADE}))


def test_no_reader_outlives_its_session(tmp_path: Path, keys: Keys) -> None:
    for account in ("a", "b"):
        session = keys.of_session(str(keys.open_reader(account, None, "a")))
        keys.open_reader(f"{account}2", session, "a")
        with sqlite3.connect(tmp_path / KEYS_FILE) as db:
            assert db.execute("SELECT account FROM readers").fetchall() == [(f"{account}2",)]
        db.close()
        keys.end(session)


def test_no_secret_is_in_the_file_and_only_its_owner_can_read_it(
    tmp_path: Path, keys: Keys
) -> None:
    path = tmp_path / KEYS_FILE
    key, link = keys.create("ann", [Scope.TRADE]), keys.link("ann", [Scope.TRADE])
    session = keys.redeem(keys.link("ann", [Scope.TRADE]))
    stored = b"".join(file.read_bytes() for file in tmp_path.glob(f"{KEYS_FILE}*"))
    for secret in (key.split("_", 2)[2], link, session):
        assert str(secret).encode() not in stored
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT hash FROM keys").fetchone()[0].startswith(b"$argon2id$")
    db.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeysError, match="can be read by others"):
        Keys(path)


def test_one_key_works_at_several_peers_of_one_owner(tmp_path: Path, keys: Keys) -> None:
    token = keys.create("ann", [Scope.TRADE])
    other = Keys(tmp_path / "other.db")
    assert other.create("ann", [Scope.TRADE], token) == token
    assert other.who(of_token(other, token)) == Principal("ann", frozenset({Scope.TRADE}))
    assert other.cookie != keys.cookie, "browsers keep cookies by host, whatever the port"
    with pytest.raises(KeysError, match="looks like"):
        other.create("ann", [Scope.TRADE], "secret")
    other.close()


@pytest.mark.parametrize(("account", "scopes"), [("", ["read"]), ("a b", ["read"]), ("a", ["all"])])
def test_invalid_accounts_and_scopes_are_refused(
    keys: Keys, account: str, scopes: list[str]
) -> None:
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
    assert run("bar", "bob").startswith("barred bob")
    assert run("barred") == "bob"
    assert run("unbar", "bob") == "bob may trade again"
    link = run("link", "ann", "--at", "http://there")
    assert link.startswith("http://there/?token=")
    keys = Keys(tmp_path / KEYS_FILE)
    session = keys.redeem(link.partition("=")[2])
    assert keys.who(Credential("sessions", module._digest(str(session)))) is not None
    keys.close()


def test_what_another_process_changes_counts_at_once(tmp_path: Path, keys: Keys) -> None:
    """Also after the write-ahead log has been copied into the file and begun again."""
    other = Keys(tmp_path / KEYS_FILE)
    raw = sqlite3.connect(tmp_path / KEYS_FILE)
    for turn in range(22):
        token = other.create(f"account{turn}", [Scope.TRADE], f"p2p_same_secret{turn % 7}")
        credential = of_token(keys, token)
        who = keys.who(credential)
        assert who is not None
        assert who.account == f"account{turn}"
        assert not keys.is_barred("ann")
        other.bar("ann")
        assert keys.is_barred("ann")
        if turn % 10 == 0:
            raw.execute("PRAGMA wal_checkpoint(RESTART)")
        assert other.unbar("ann")
        assert not keys.is_barred("ann")
        if turn % 3:
            assert other.revoke("same")
            assert keys.who(credential) is None
    raw.close()
    other.close()
