"""Epochs for tests: the first of a committee, whose members have keys that nobody else has."""

from functools import cache

from peer.consensus.committee import Committee
from peer.membership.epochs import Epoch, Origin, Seat
from peer.membership.identity import Identity


@cache
def key_of(seat: int) -> Identity:
    """A seat's key."""
    return Identity(bytes([seat + 1]) * 32)


@cache
def first_epoch(committee: Committee) -> Epoch:
    """Its members are called m0, m1 and so on."""
    numbers = range(committee.size)
    seats = tuple(Seat(number, f"m{number}", key_of(number).public) for number in numbers)
    begins_ms = committee.created_ms
    origin = Origin(committee.mesh, b"", 0, 1, seats, committee.size, 0, begins_ms, b"")
    return Epoch(origin, committee.mode)
