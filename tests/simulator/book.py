"""What the peers run over the agreed order: the payload's form and two state machines.

`Tally` is a few lines; `Market` is the real matching engine. Both apply exactly what follows what
they applied before, as the node does.
"""

from hashlib import blake2b
from random import Random
from typing import Any, Protocol

import msgspec

Payload = tuple[int, list[bytes]]  # sequence number of the first command, the commands

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Payload)


def encode(first: int, commands: list[bytes]) -> bytes:
    return _encoder.encode((first, commands))


def decode(payload: bytes) -> Payload:
    """The commands in a payload; none where an author put in something else."""
    try:
        decoded: Payload = _decoder.decode(payload)
        return decoded
    except msgspec.DecodeError:
        return 1, []


class Machine(Protocol):
    """What commands are applied to."""

    def advance(self, time_ms: int) -> None: ...

    def apply(self, author: int, command: bytes) -> None: ...

    def digest(self) -> bytes: ...


class Book:
    """A machine and, for every author, the sequence number it must give next."""

    def __init__(self, size: int, machine: Machine) -> None:
        self.expected = [1] * size
        self.machine = machine

    def apply(self, author: int, payload: bytes) -> list[int]:
        """Apply what is next from its author; the sequence numbers that were."""
        first, commands = decode(payload)
        applied = []
        for sequence, command in enumerate(commands, first):
            if sequence == self.expected[author]:
                self.expected[author] += 1
                self.machine.apply(author, command)
                applied.append(sequence)
        return applied


class Tally:
    """A hash over all that was applied, in its order and at its time."""

    def __init__(self) -> None:
        self._digest = b""
        self._time_ms = 0

    def advance(self, time_ms: int) -> None:
        assert time_ms >= self._time_ms, "the ordered clock ran backwards"
        self._time_ms = time_ms

    def apply(self, author: int, command: bytes) -> None:
        data = self._digest + self._time_ms.to_bytes(8, "big") + bytes([author]) + command
        self._digest = blake2b(data, digest_size=32).digest()

    def digest(self) -> bytes:
        return blake2b(self._digest + self._time_ms.to_bytes(8, "big"), digest_size=32).digest()


def count(random: Random, author: int, number: int) -> bytes:
    """A command for the tally."""
    del random
    return bytes([author]) + number.to_bytes(4, "big")


class Market:
    """The real engine, with one market."""

    def __init__(self) -> None:
        from engine import Command, Exchange
        from engine import Market as Listing

        self._exchange = Exchange([Listing(symbol="SIM", tick="1", lot="1")])
        self._decoder: Any = msgspec.msgpack.Decoder(Command)

    def advance(self, time_ms: int) -> None:
        self._exchange.advance(time_ms)

    def apply(self, author: int, command: bytes) -> None:
        self._exchange.apply(self._decoder.decode(command))

    def digest(self) -> bytes:
        return self._exchange.digest()


def order(random: Random, author: int, number: int) -> bytes:
    """A command for the market: mostly orders near one price, some of them good for 100 ms, and
    cancels of earlier ones."""
    from engine import Cancel, Side, Submit, TimeInForce

    id_ = number * 256 + author
    account = f"account-{random.randrange(4)}"
    if number > 1 and random.random() < 0.2:
        target = random.randrange(1, number) * 256 + author
        return _encoder.encode(Cancel(id_, account, target))
    return _encoder.encode(
        Submit(
            id_,
            account,
            "SIM",
            Side(random.randrange(2)),
            quantity=random.randint(1, 20),
            price=random.randint(95, 105),
            tif=random.choice((TimeInForce.GTC, TimeInForce.IOC)),
        )
    )
