"""What simulated peers say to each other, and what their clients say to them."""

from typing import NamedTuple

from peer.consensus.block import Ref


class Heartbeat(NamedTuple):
    rounds: tuple[int, ...]


class Published(NamedTuple):
    frame: bytes


class Asked(NamedTuple):
    refs: tuple[Ref, ...]


class AskedAbove(NamedTuple):
    rounds: tuple[int, ...]


class Answer(NamedTuple):
    frames: tuple[bytes, ...]
    pull: bool  # all of an answer to AskedAbove


class Submitted(NamedTuple):
    command: bytes
