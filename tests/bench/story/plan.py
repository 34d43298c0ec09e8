"""How much each part of the story measures, and where: in full, or only to see that it works."""

from pathlib import Path
from typing import NamedTuple


class Plan(NamedTuple):
    sizes: tuple[int, ...]  # peers of a mesh
    orders: int  # of one measurement of throughput
    rates: tuple[tuple[int, float], ...]  # orders a second, for how many seconds
    disk_rates: tuple[tuple[int, float], ...]  # the same, where the disk is watched
    lone: int  # orders that are alone
    resting: tuple[int, ...]  # orders in the book
    history: int  # commands that came before
    followers: int
    browsers: int
    http_seconds: float
    naive_orders: int
    raw_messages: int


FULL = Plan(
    sizes=(1, 3, 4, 7),
    orders=30_000,
    rates=((1, 30), (50, 12), (1_000, 10), (10_000, 5)),
    disk_rates=((1, 20), (20, 10), (200, 10)),
    lone=200,
    resting=(1_000, 100_000),
    history=300_000,
    followers=2,
    browsers=100,
    http_seconds=4,
    naive_orders=1_998,
    raw_messages=200_000,
)
QUICK = Plan(
    sizes=(1, 3),
    orders=300,
    rates=((20, 0.5), (200, 0.5)),
    disk_rates=((20, 0.5),),
    lone=5,
    resting=(100,),
    history=600,
    followers=1,
    browsers=3,
    http_seconds=0.3,
    naive_orders=60,
    raw_messages=2_000,
)


class Place(NamedTuple):
    """Where a part works."""

    folder: Path  # its own, empty
    pythons: tuple[str, ...]  # further interpreters for programs that need another Python


class LeftOutError(Exception):
    """A part that cannot run here; the message says why."""
