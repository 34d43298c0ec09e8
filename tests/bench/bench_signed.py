"""What signatures by traders cost: one of them, and the orders a second of three peers with them.

The same random crossing orders, from one account at each peer; signed before the clock starts.
Figures are medians of interleaved runs on one machine that holds all peers.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console

from discovery.grapes import running_grapes
from peer import Signer
from peer.consensus.block import Block, Ref
from peer.consensus.committee import Committee, Mode
from peer.consensus.committer import Commit
from peer.membership.identity import Identity
from peer.replica.batch import command_id, encode_batch
from peer.replica.signature_cache import SignatureCache
from peer.replica.signed import Entry, with_id
from peer.replica.state_machine import Replica
from tests import heap
from tests.bench.measuring import machine
from tests.support.epochs import first_epoch
from tests.support.real_mesh import MARKETS, RealMesh, random_orders, submit_at_once, wait_for

PEERS = 3


def flows(mesh: RealMesh, signers: Sequence[Signer], orders: int, seed: int, sign: bool) -> list:
    """A client and its orders for each peer."""
    rng = random.Random(seed)
    made = []
    for peer, signer in zip(mesh.peers, signers, strict=True):
        account = signer.account if sign else "plain"
        plain = random_orders(rng, account, orders // PEERS)
        entries: list[Entry] = [signer.sign(each) for each in plain] if sign else [*plain]
        made.append((peer.client, entries))
    return made


def per_second(mesh: RealMesh, made: list, orders: int, per_request: int) -> float:
    """Until every peer has applied all of them."""
    started_s = time.monotonic()
    submit_at_once(made, per_request)
    wait_for("one commit", lambda: len({peer.state().commit for peer in mesh.peers}) == 1)
    return orders / (time.monotonic() - started_s)


def in_a_block(mesh_id: bytes, entries: Sequence[Entry], ahead: bool) -> float:
    """Milliseconds for which applying them holds the loop; `ahead`: they were looked at before."""
    replica = Replica(MARKETS, first_epoch(Committee(mesh_id, 1, Mode.CRASH)))
    named = [with_id(entry, command_id(n, 0)) for n, entry in enumerate(entries, 1)]
    payload = encode_batch(1, [msgspec.msgpack.encode(entry) for entry in named])
    block = Block(Ref(1, 0, b"d" * 32), (), payload)
    if ahead:
        replica.verify_ahead(block)
        time.sleep(len(entries) / 1_000)
    now_ms = time.time_ns() // 1_000_000
    started_s = time.perf_counter()
    replica.apply(Commit(1, block.ref, now_ms, (block,), None))
    return (time.perf_counter() - started_s) * 1e3


def microseconds(action: Callable[[int], object], count: int) -> float:
    started_s = time.perf_counter()
    for n in range(count):
        action(n)
    return (time.perf_counter() - started_s) / count * 1e6


@click.command()
@click.option("--orders", default=3_000, show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--per-request", default=50, show_default=True)
def main(orders: int, seeds: int, per_request: int) -> None:
    """Compare signed with plain orders."""
    heap.refuse_if_broken()
    console = Console()
    console.print(machine())
    mesh_id = os.urandom(16)
    signer = Signer(Identity.ephemeral(), mesh_id.hex())
    plain = random_orders(random.Random(1), signer.account, 2_000)
    entries = [signer.sign(each) for each in plain]
    fresh = SignatureCache(mesh_id)
    encode = msgspec.msgpack.encode
    figures = {
        "to sign": microseconds(lambda n: signer.sign(plain[n]), len(plain)),
        "to verify": microseconds(lambda n: fresh.is_valid(entries[n]), len(plain)),
        "to look up that it was": microseconds(lambda n: fresh.is_valid(entries[n]), len(plain)),
    }
    for what, took_us in figures.items():
        console.print(f"{what}: {took_us:.0f} µs")
    for what, one in (("plain", plain[0]), ("signed", entries[0])):
        console.print(f"{what} order: {len(encode(one))} bytes")
    for what, each, ahead in (
        ("plain", random_orders(random.Random(1), "plain", 1_000), False),
        ("signed", entries[:1_000], False),
        ("signed and looked at ahead", entries[:1_000], True),
    ):
        held = [in_a_block(mesh_id, each, ahead) for _ in range(seeds)]
        console.print(f"a block of 1,000 orders, {what}: {statistics.median(held):.0f} ms")
    found: dict[bool, list[float]] = {False: [], True: []}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running_grapes() as grapes,
        RealMesh(Path(folder), [grape.spec.url for grape in grapes], PEERS) as mesh,
    ):
        mesh.start()
        traders = [Signer(Identity.ephemeral(), mesh.config.id.hex()) for _ in mesh.peers]
        for seed in range(seeds):
            for sign, rates in found.items():
                made = flows(mesh, traders, orders, seed, sign)
                rates.append(per_second(mesh, made, orders, per_request))
    for sign, rates in found.items():
        what, shown = "signed" if sign else "plain", ", ".join(f"{rate:,.0f}" for rate in rates)
        console.print(f"{what}: {statistics.median(rates):,.0f} orders a second ({shown})")


if __name__ == "__main__":
    main()
