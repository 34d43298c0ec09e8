"""What a peer remembers of addresses: whatever the file is, the peer starts."""

import json
import logging
from pathlib import Path

import pytest

from discovery.grape import Address
from peer.consensus.committee import MEMBERS_MAX
from peer.network.address_file import FILE_BYTES_MAX, WRITE_MS, AddressFile
from peer.network.addresses import PROVEN_MAX

PLACES = [Address("10.0.0.1", 3001), Address("bob.example.org", 1)]
ADDRESSES = {"aa": PLACES, "bb": PLACES[:1]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "addresses.json"


def settle(file: AddressFile) -> None:
    assert file._writer is not None
    file._writer.join()


def test_stored_addresses_survive_a_restart(path: Path) -> None:
    file = AddressFile(path)
    assert file.load() == {}
    file.keep(ADDRESSES, 0)
    settle(file)
    assert AddressFile(path).load() == ADDRESSES
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_the_file_is_written_after_a_change_and_not_too_often(path: Path) -> None:
    file = AddressFile(path)
    file.load()
    file.keep({}, 0)
    assert file._writer is None
    file.keep(ADDRESSES, 0)
    settle(file)
    before = path.stat().st_mtime_ns
    file.keep(ADDRESSES, WRITE_MS)
    file.keep({"aa": PLACES}, WRITE_MS - 1)
    settle(file)
    assert path.stat().st_mtime_ns == before
    file.keep({"aa": PLACES}, WRITE_MS)
    settle(file)
    assert AddressFile(path).load() == {"aa": PLACES}


def test_the_last_addresses_are_written_at_the_end(path: Path) -> None:
    file = AddressFile(path)
    file.keep(ADDRESSES, 0)
    file.close({"aa": PLACES})
    assert AddressFile(path).load() == {"aa": PLACES}


WRONG = {
    "empty": b"",
    "cut off": b'{"version": 1, "members": {"aa": ["10.0.0.1:30',
    "no text": bytes(range(256)),
    "zeros, as after a power cut": bytes(200),
    "another version": json.dumps({"version": 2, "members": {}}).encode(),
    "no version": b"{}",
    "a version of another kind": b'{"version": "1", "members": {}}',
    "more than we know": b'{"version": 1, "members": {}, "more": 1}',
    "a list": b"[]",
    "no addresses": b'{"version": 1, "members": {"aa": ["here"]}}',
    "a port too high": b'{"version": 1, "members": {"aa": ["10.0.0.1:99999"]}}',
    "numbers": b'{"version": 1, "members": {"aa": [1]}}',
    "too many members": json.dumps(
        {"version": 1, "members": {str(n): [] for n in range(MEMBERS_MAX + 1)}}
    ).encode(),
    "too many addresses": json.dumps(
        {"version": 1, "members": {"aa": [f"a:{n + 1}" for n in range(PROVEN_MAX + 1)]}}
    ).encode(),
    "too long": b" " * (FILE_BYTES_MAX + 1),
    "too deep": b'{"version": 1, "members": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_an_invalid_file_is_renamed(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    file = AddressFile(path)
    with caplog.at_level(logging.WARNING):
        assert file.load() == {}
    [line] = caplog.messages
    assert "is invalid: renamed to addresses.json.aside" in line
    assert path.with_name("addresses.json.aside").read_bytes() == content
    file.close(ADDRESSES)
    assert AddressFile(path).load() == ADDRESSES


def test_a_failed_write_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = AddressFile(path)
    blocking = path.with_name("addresses.json.new")
    blocking.mkdir()
    with caplog.at_level(logging.WARNING):
        for second in range(3):
            file.keep(ADDRESSES, second * 1_000)
            settle(file)
    [line] = caplog.messages
    assert "cannot write" in line
    blocking.rmdir()
    file.keep(ADDRESSES, 3_000)
    settle(file)
    assert AddressFile(path).load() == ADDRESSES


def test_an_unreadable_file_gives_no_addresses(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        assert AddressFile(path).load() == {}
    assert "no addresses are remembered" in caplog.text
