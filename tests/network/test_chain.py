"""ORDER-47: anybody with the mesh file can ask who the members are, and believes only proof."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from discovery.grape import Address
from peer.consensus.committee import Mode
from peer.membership.epochs import Certificate, Epoch, Pin, UncertifiedError, chain
from peer.membership.identity import Identity
from peer.membership.mesh_file import Member, MeshConfig
from peer.network.authenticator import Authenticator
from peer.network.chain_client import ChainClient
from peer.network.messages import CHAIN_MAX
from peer.node.epoch_book import EpochBook
from peer.process.poller import Poller
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.journal import Journal
from tests.support.chain_sources import stranger, succession
from tests.support.real_mesh import MARKETS, wait_for

KEYS = [Identity(bytes([n + 1]) * 32) for n in range(CHAIN_MAX + 8)]
CONFIG = MeshConfig("m", Mode.CRASH, 5, [Member("a", KEYS[0].public.hex())], MARKETS)


@pytest.fixture
def client() -> Iterator[tuple[ChainClient, Authenticator]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    authenticator = Authenticator(context, CONFIG, Identity.ephemeral(), Poller())
    client = ChainClient(context, CONFIG.id, authenticator)
    yield client, authenticator
    client.rest()
    authenticator.close()
    context.destroy(linger=0)


def answered(client: ChainClient, count: int) -> tuple[Address, list[Certificate]]:
    """Ask until an address has answered so many certificates."""

    def look() -> tuple[Address, list[Certificate]] | None:
        client.ask(0, time.monotonic_ns() // 1_000_000)
        found = (one for one in client.answers() if len(one[1]) >= count)
        return next(found, None)

    return wait_for("an answer", look)


def test_a_stranger_to_all_present_members_gets_the_whole_chain(
    client: tuple[ChainClient, Authenticator],
) -> None:
    certificates = succession(Epoch.first(CONFIG), KEYS)
    assert len(certificates) > CHAIN_MAX, "more than one answer"
    with stranger(CONFIG, certificates) as port:
        client[0].give(Address("127.0.0.1", port))
        place, got = answered(client[0], len(certificates))
    assert place.port == port
    assert got == certificates
    *_, last = chain(Epoch.first(CONFIG), got)
    assert last.seats[0].key == KEYS[-1].public


def test_a_trusted_seal_is_reached_though_it_is_further_than_one_answer(tmp_path: Path) -> None:
    """The epochs before it need no signatures, and are believed all together."""
    certificates = succession(Epoch.first(CONFIG), KEYS)
    unsigned = [Certificate(each.origin, {}) for each in certificates]
    last = CHAIN_MAX + 2
    pin = Pin(last, certificates[last].origin.before)
    identity = data_folder.create(tmp_path / "data")
    journal = Journal(tmp_path / "data" / JOURNAL_FILE, identity.public, CONFIG.id)
    book = EpochBook(CONFIG, journal, pin)
    assert not book.learn(unsigned[:CHAIN_MAX])
    assert book.lacks_pin
    with pytest.raises(UncertifiedError, match=f"epoch {last + 1}: "):
        book.learn(unsigned)
    assert not book.lacks_pin
    assert book.newest.number == last
    assert book.learn(certificates)
    journal.close()


def test_what_a_trusted_seal_proves_is_no_certificate(tmp_path: Path) -> None:
    """ORDER-47: signatures that nobody needed are verified too before they are handed on, or a
    newcomer would take this peer for a forger. This peer asks for what is missing, also after a
    restart."""
    certificates = succession(Epoch.first(CONFIG), KEYS[:4])
    spoiled = [Certificate(each.origin, {n: bytes(64)}) for n, each in enumerate(certificates)]
    pin = Pin(2, certificates[2].origin.before)
    identity = data_folder.create(tmp_path / "data")
    journal = Journal(tmp_path / "data" / JOURNAL_FILE, identity.public, CONFIG.id)
    first, again = EpochBook(CONFIG, journal, pin), EpochBook(CONFIG, journal, pin)
    first.learn(spoiled[:2])
    again.restore()
    for book in (first, again):
        assert [each.signatures for each in book.certificates(0)] == [{}, {}]
        book.stand_in(2)
        assert book.uncertified(True) == 1
    again.learn(certificates[:1])
    assert again.uncertified(True) == 2
    again.learn(certificates)
    assert again.uncertified(True) is None
    assert again.certificates(0) == certificates
    journal.close()


def test_an_address_with_a_forged_chain_is_not_asked_again(
    client: tuple[ChainClient, Authenticator],
) -> None:
    chain = succession(Epoch.first(CONFIG), KEYS[:2])
    with stranger(CONFIG, chain) as port:
        client[0].give(Address("127.0.0.1", port))
        place, _ = answered(client[0], 1)
        client[0].refuse(place)
        end_s = time.monotonic() + 1
        while time.monotonic() < end_s:
            client[0].ask(0, time.monotonic_ns() // 1_000_000)
            assert list(client[0].answers()) == []


def test_only_who_has_the_mesh_file_gets_an_answer(
    client: tuple[ChainClient, Authenticator],
) -> None:
    other = MeshConfig("other", Mode.CRASH, 5, CONFIG.members, MARKETS)
    chain = succession(Epoch.first(other), KEYS[:2])
    with stranger(other, chain) as port:
        client[0].give(Address("127.0.0.1", port))
        end_s = time.monotonic() + 1
        while time.monotonic() < end_s:
            client[0].ask(0, time.monotonic_ns() // 1_000_000)
            assert list(client[0].answers()) == []
