"""What a peer knows of the epochs: seals that contradict each other, and who must stop then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Market
from peer.consensus.committee import Mode
from peer.membership.epochs import DOMAIN, Certificate, Epoch, Pin
from peer.membership.mesh_file import Member, MeshConfig
from peer.node.epoch_book import EpochBook
from peer.storage.journal import Journal
from tests.support.epochs import key_of

DIGEST = b"d" * 32


MEMBERS = [Member(f"m{seat}", key_of(seat).public.hex()) for seat in range(3)]
CONFIG = MeshConfig("three", Mode.CRASH, 0, MEMBERS, [Market("X", "1", "1")], [])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    Journal.create(tmp_path / "journal", key_of(0).public)
    journal = Journal(tmp_path / "journal", key_of(0).public, CONFIG.id)
    yield journal
    journal.close()


@pytest.fixture
def book(journal: Journal) -> EpochBook:
    """Of a mesh of three."""
    return EpochBook(CONFIG, journal)


def following(book: EpochBook, digest: bytes = DIGEST) -> Epoch:
    """An epoch without the third member."""
    return book.newest.following({2}, [], 1, 64, 1_000, digest)


def signatures(epoch: Epoch, *seats: int) -> dict[int, bytes]:
    return {seat: key_of(seat).sign(DOMAIN + epoch.seal) for seat in seats}


def enter(book: EpochBook, epoch: Epoch) -> None:
    book.expect(epoch)
    book.enter(1)
    book.stand_in(1)


def test_two_certified_seals_of_one_epoch_stop_a_peer(book: EpochBook) -> None:
    """ORDER-57: by whatever message it learns of the second."""
    one, other = following(book), following(book, b"e" * 32)
    enter(book, one)
    book.add(signatures(one, 0, 1))
    assert book.is_certified(1)
    book.compare(1, one.seal, signatures(one, 1, 2))
    book.compare(1, other.seal, signatures(other, 2))
    assert book.forked == "", "too few have signed the other one"
    book.learn([Certificate(other.origin, signatures(other, 1, 2))])
    assert other.seal.hex() in book.forked
    assert f"and {one.seal.hex()} as well" in book.forked
    first = book.forked
    book.compare(1, b"f" * 32, {})
    assert book.forked == first


def test_another_seal_than_a_quorums_stops_a_peer(book: EpochBook) -> None:
    """ORDER-57."""
    one, other = following(book), following(book, b"e" * 32)
    enter(book, one)
    book.compare(1, other.seal, signatures(other, 0, 1))
    assert "its state is wrong" in book.forked


def test_an_end_that_contradicts_the_chain_stops_a_peer(book: EpochBook) -> None:
    """ORDER-57."""
    one, other = following(book), following(book, b"e" * 32)
    book.learn([Certificate(other.origin, signatures(other, 0, 1))])
    assert book.forked == ""
    book.expect(other)
    assert book.forked == ""
    book.expect(one)
    assert other.seal.hex() in book.forked


def test_signatures_of_the_new_members_certify_nothing(book: EpochBook) -> None:
    """ORDER-46: only those of the epoch that ends count, for its own seal."""
    added = [(f"m{seat}", key_of(seat).public) for seat in (3, 4)]
    one = book.current.following({1, 2}, added, 1, 64, 1_000, DIGEST)
    enter(book, one)
    assert not book.add(signatures(one, 3, 4))
    assert book.add(signatures(one, 0))
    assert not book.is_certified(1)
    assert book.add(signatures(one, 2))
    assert book.is_certified(1)


def test_a_chain_certifies_what_was_known_without_proof(book: EpochBook) -> None:
    """ORDER-47: a peer that closed an epoch, and was away when the signatures came, gets them from
    any chain, also a few from each; then it can prove the epoch to newcomers."""
    one = following(book)
    enter(book, one)
    assert book.uncertified(is_sealed=False) is None, "the signatures may still be under way"
    assert book.uncertified(is_sealed=True) == 1
    assert not book.learn([Certificate(one.origin, signatures(one, 0))])
    assert not book.learn([Certificate(one.origin, {1: bytes(64)})])
    assert book.uncertified(is_sealed=True) == 1
    assert book.certificates(0) == []
    assert not book.learn([Certificate(one.origin, signatures(one, 1, 2))])
    assert book.uncertified(is_sealed=True) is None
    assert book.certificates(0) == [Certificate(one.origin, signatures(one, 0, 1, 2))]


def test_an_epoch_that_its_operator_trusts_is_handed_on_without_signatures(
    book: EpochBook, journal: Journal
) -> None:
    """ORDER-46. Whoever is to sign it is lost, and too few are in it to order a change."""
    epoch = following(book)
    enter(book, epoch)
    assert book.certificates(0) == []
    for pin, told in ((Pin(1, epoch.seal), [Certificate(epoch.origin, {})]), (Pin(1, DIGEST), [])):
        again = EpochBook(CONFIG, journal, pin)
        again.restore()
        again.stand_in(1)
        assert again.certificates(0) == told
    late = EpochBook(CONFIG, journal, Pin(1, epoch.seal))
    assert late.learn([Certificate(epoch.origin, {})])
    assert late.newest.seal == epoch.seal
