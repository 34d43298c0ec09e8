"""What a mesh of many members costs: bytes, signatures, the order itself, and delays.

    python -m tests.bench.bench_scale --members 3,7,25 --one-way-ms 40

Bytes are of real encodings. Times are processor time of this process, so that other work on the
machine counts little. Delays are from the simulator, which also drives the cost of the order: all
that a member does for one block of another, without signatures, sockets and disk.
"""

import statistics
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from peer.consensus.block import SIGNATURE_BYTES, Attestation, Ref, digest_of, make
from peer.consensus.committee import Committee, Mode
from peer.membership.identity import Identity, Verifier
from peer.network.messages import Heartbeat, encode
from tests.bench.measuring import machine
from tests.simulator import wide

TIMES = 2_000
COMMANDS = 100
ROUND, TIME_MS, COMMIT = 100_000, 1_800_000_000_000, 30_016
SEAL = digest_of(b"seal")
STATED = Attestation(COMMIT, SEAL)


def block_bytes(size: int, attests: bool = True, parents: int | None = None) -> int:
    """Of a block without commands, in a later epoch, with so many parents; else one each."""
    committee = Committee(b"m" * 16, size, Mode.CRASH, 1, TIME_MS, SEAL)
    refs = tuple(Ref(ROUND - 1, author, SEAL) for author in range(size))[:parents]
    said = STATED if attests else Attestation(0, b"")

    def sign(data: bytes) -> bytes:
        return data[:1] * SIGNATURE_BYTES

    return len(make(committee, ROUND, 0, refs, b"", TIME_MS, said, sign).frame)


def heartbeat_bytes(size: int) -> int:
    rounds, hears = (ROUND,) * size, (True,) * size
    return len(
        encode(Heartbeat(b"m" * 16, 1, 0, 40_000, rounds, COMMIT, STATED, STATED, TIME_MS, hears))
    )


def processor_us(act: Callable[[], object]) -> float:
    """Of one call: the least of five turns."""
    turns = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(TIMES // 5):
            act()
        turns.append((time.process_time() - began) / (TIMES // 5))
    return min(turns) * 1e6


def signatures_us(size: int) -> tuple[float, float]:
    """To sign, and to verify, a block without commands."""
    identity, data = Identity.ephemeral(), b"x" * block_bytes(size)
    signature, verifier = identity.sign(data), Verifier(identity.public)
    return (
        processor_us(lambda: identity.sign(data)),
        processor_us(lambda: verifier.verify(data, signature)),
    )


def order_us(size: int, mode: Mode, one_way_ms: int) -> tuple[float, float]:
    """Processor time for one block at one member, and the mean delay of a command in one-way
    delays."""
    scene = wide.even(one_way_ms, size, mode)
    began = time.process_time()
    found = wide.run(scene, commands=COMMANDS)
    took_s = time.process_time() - began
    return took_s / (found.blocks * size) * 1e6, statistics.mean(found.delays_ms) / one_way_ms


@click.command()
@click.option("--members", default="3,7,13,25", show_default=True)
@click.option("--one-way-ms", default=40, show_default=True, help="In the simulator, every link.")
def main(members: str, one_way_ms: int) -> None:
    """Measure, and print."""
    title = f"{one_way_ms} ms one way, one message of a hundred lost ({machine()})"
    shown = Table(
        *("members", "block", "of that parents", "attestation", "heartbeat"),
        *("sign µs", "verify µs", "order µs crash", "byzantine", "delays crash", "byzantine"),
        title=title,
    )
    for size in map(int, members.split(",")):
        block = block_bytes(size)
        sign_us, verify_us = signatures_us(size)
        modes = [order_us(size, mode, one_way_ms) for mode in Mode]
        shown.add_row(
            *map(str, (size, block, block - block_bytes(size, parents=0))),
            *map(str, (block - block_bytes(size, attests=False), heartbeat_bytes(size))),
            *(f"{us:.0f}" for us in (sign_us, verify_us, *(us for us, _ in modes))),
            *(f"{delays:.1f}" for _, delays in modes),
        )
    Console(width=140).print(shown)


if __name__ == "__main__":
    main()
