"""The limits: what ZeroMQ and the disk take by themselves, without an order book.

Owns two programs. The bare ring is three processes that pass a step through three rounds; in each
round every process signs 500 bytes, writes them into a file, syncs it and publishes them over
encrypted PUB/SUB, and verifies what the others publish. This is the least that three peers must do
before an order is final. Raw PUB/SUB is a message there and back, and as many messages as two
subscribers take from one publisher. Must never do more than that.
"""

import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import zmq
from nacl.signing import SigningKey

from tests.bench.measuring import PAUSE_S
from tests.support.real_mesh import held_ports

MEMBERS = 3
QUORUM = 2
BODY_BYTES = 500
HEAD_BYTES = 6  # member, round, and the step's number
SLOTS, SLOT_BYTES = 3_000, 600  # of the file, which is then written over
ORDER_BYTES = 75  # a plain order, encoded
WAIT_MS = 20_000


class Kind(NamedTuple):
    rounds: int
    is_safe: bool  # signed, verified, encrypted and synced


RING = Kind(3, True)
THERE_AND_BACK = Kind(1, False)


class Keys(NamedTuple):
    """What a member has, and what all know of it."""

    curve_public: bytes
    curve_secret: bytes
    signing: bytes

    @classmethod
    def new(cls) -> "Keys":
        return cls(*zmq.curve_keypair(), bytes(SigningKey.generate()))


class _Member:
    def __init__(
        self, me: int, ports: Sequence[int], keys: Sequence[Keys], folder: Path, kind: Kind
    ) -> None:
        self._me, self._kind = me, kind
        self._signer = SigningKey(keys[me].signing)
        self._verifiers = [SigningKey(each.signing).verify_key for each in keys]
        self._file = os.open(folder / f"ring{me}", os.O_CREAT | os.O_WRONLY)
        os.write(self._file, bytes(SLOTS * SLOT_BYTES))  # so that a sync writes no new length
        os.fsync(self._file)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub, self._sub = self.context.socket(zmq.XPUB), self.context.socket(zmq.SUB)
        self._pub.xpub_verbose = 1  # tell of every subscriber, also if another has the same topic
        if kind.is_safe:
            self._pub.curve_server = True
            self._pub.curve_secretkey = keys[me].curve_secret
            self._sub.curve_publickey = keys[me].curve_public
            self._sub.curve_secretkey = keys[me].curve_secret
        self._pub.bind(f"tcp://127.0.0.1:{ports[me]}")
        self._sub.subscribe(b"")
        for other, port in enumerate(ports):
            if other != me:
                if kind.is_safe:
                    self._sub.curve_serverkey = keys[other].curve_public
                self._sub.connect(f"tcp://127.0.0.1:{port}")
        self._heard: dict[tuple[int, int], set[int]] = defaultdict(set)  # by step and round

    def wait_connected(self) -> None:
        for _ in range(MEMBERS - 1):
            assert self._pub.poll(WAIT_MS), "expected a subscription, none came"
            self._pub.recv()

    def say(self, step: int, round_: int) -> None:
        body = bytes((self._me, round_)) + step.to_bytes(4, "big") + bytes(BODY_BYTES)
        if self._kind.is_safe:
            body += self._signer.sign(body).signature
            slot = (step * self._kind.rounds + round_) % SLOTS
            os.pwrite(self._file, body, slot * SLOT_BYTES)
            os.fdatasync(self._file)
        self._pub.send(body)
        self._heard[step, round_].add(self._me)

    def hear(self) -> int:
        """Take one message, and say what it lets us say. Returns the step if that is over, else
        -1."""
        assert self._sub.poll(WAIT_MS), "expected a message, none came"
        body = self._sub.recv()
        who, round_, step = body[0], body[1], int.from_bytes(body[2:HEAD_BYTES], "big")
        if self._kind.is_safe:
            self._verifiers[who].verify(body[:-64], body[-64:])
        self._heard[step, round_].add(who)
        if self._me not in self._heard[step, round_]:
            self.say(step, round_)
        while len(self._heard[step, round_]) >= QUORUM and round_ < self._kind.rounds:
            round_ += 1
            if self._me not in self._heard[step, round_]:
                self.say(step, round_)
        return step if len(self._heard[step, self._kind.rounds]) >= QUORUM else -1

    def close(self) -> None:
        os.close(self._file)
        self.context.destroy(linger=0)


def _run(
    me: int,
    ports: Sequence[int],
    keys: Sequence[Keys],
    folder: Path,
    kind: Kind,
    steps: int,
    pipe: Connection,
) -> None:
    member = _Member(me, ports, keys, folder, kind)
    member.wait_connected()
    pipe.send(None)
    pipe.recv()
    if me:
        for _ in range(steps * kind.rounds * (MEMBERS - 1)):
            member.hear()
    else:
        waits_ms = []
        for step in range(steps):
            time.sleep(PAUSE_S)
            began_s = time.monotonic()
            member.say(step, 1)
            while member.hear() < step:
                pass
            waits_ms.append((time.monotonic() - began_s) * 1000)
        pipe.send(waits_ms)
    pipe.recv()
    member.close()


def lone_ms(kind: Kind, steps: int, folder: Path) -> list[float]:
    """How long each of the steps took, one at a time."""
    spawn = multiprocessing.get_context("spawn")
    keys = [Keys.new() for _ in range(MEMBERS)]
    with held_ports(MEMBERS) as ports:
        pipes, processes = [], []
        for me in range(MEMBERS):
            ours, theirs = spawn.Pipe()
            arguments = (me, ports, keys, folder, kind, steps, theirs)
            processes.append(spawn.Process(target=_run, args=arguments, daemon=True))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        try:
            for pipe in pipes:
                pipe.recv()  # it is connected
            for pipe in pipes:
                pipe.send(None)
            waits_ms: list[float] = pipes[0].recv()
            for pipe in pipes:
                pipe.send(None)
        finally:
            for process in processes:
                process.join(5)
                process.kill()
    return waits_ms


def _count(port: int, messages: int, pipe: Connection) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sub = context.socket(zmq.SUB)
    sub.rcvhwm = 0
    sub.subscribe(b"")
    sub.connect(f"tcp://127.0.0.1:{port}")
    for _ in range(messages):
        sub.recv()
    pipe.send(time.monotonic())
    context.destroy(linger=0)


def per_second(messages: int) -> float:
    """Messages of the size of an order, each by itself, that two subscribers get from one
    publisher."""
    spawn = multiprocessing.get_context("spawn")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pub = context.socket(zmq.XPUB)
    pub.xpub_verbose = 1
    pub.sndhwm = 0
    port = pub.bind_to_random_port("tcp://127.0.0.1")
    ours, theirs = spawn.Pipe()
    counters = [
        spawn.Process(target=_count, args=(port, messages, theirs), daemon=True) for _ in range(2)
    ]
    try:
        for each in counters:
            each.start()
        for _ in counters:
            assert pub.poll(WAIT_MS), "expected a subscription, none came"
            pub.recv()
        began_s = time.monotonic()
        for _ in range(messages):
            pub.send(bytes(ORDER_BYTES))
        return messages / (max(ours.recv() for _ in counters) - began_s)
    finally:
        context.destroy(linger=0)
        for each in counters:
            each.join(5)
            each.kill()
