"""The alternative: peers that broadcast orders and apply them as they arrive. For comparison only.

Everything else is the same as ours: Python, ZeroMQ PUB/SUB, the same engine. Nothing is ordered,
signed, encrypted or stored.
"""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import msgspec
import zmq

from engine import Command, Exchange, Trade
from tests.support.real_mesh import MARKETS

IDLE_S = 1.0

Trades = set[tuple[int, int, int, int]]  # maker, taker, price, quantity
_decoder = msgspec.msgpack.Decoder(Command)


def _peer(
    ports: Sequence[int], me: int, orders: list[Command], go: Barrier, out: Connection
) -> None:
    context = zmq.Context()
    pub, sub = context.socket(zmq.PUB), context.socket(zmq.SUB)
    pub.sndhwm = sub.rcvhwm = 0
    pub.bind(f"tcp://127.0.0.1:{ports[me]}")
    sub.subscribe(b"")
    for port in ports:
        if port != ports[me]:
            sub.connect(f"tcp://127.0.0.1:{port}")
    time.sleep(1)
    go.wait()
    started_s = last_s = time.monotonic()
    exchange, trades = Exchange(MARKETS), set()
    todo = list(reversed(orders))
    while time.monotonic() - last_s < IDLE_S:
        batch: list[Command] = []
        if todo:
            batch.append(todo.pop())
            pub.send(msgspec.msgpack.encode(batch[0]))
        while sub.poll(0 if batch else 20) and len(batch) < 50:
            batch.append(_decoder.decode(sub.recv()))
        for command in batch:
            for event in exchange.apply(command):
                if isinstance(event, Trade):
                    trades.add((event.maker, event.taker, event.price, event.quantity))
        if batch:
            last_s = time.monotonic()
    out.send((trades, exchange.digest(), last_s - started_s))
    pub.close()
    sub.close()
    context.term()


def run(ports: Sequence[int], flows: Sequence[list[Command]]) -> list[tuple[Trades, bytes, float]]:
    """Each flow submitted at its own peer, all at once: by peer its trades, the digest of its book,
    and the seconds until it had applied all."""
    spawn = multiprocessing.get_context("spawn")
    go = spawn.Barrier(len(ports))
    peers, ends = [], []
    for me, orders in enumerate(flows):
        end, out = spawn.Pipe(duplex=False)
        peers.append(spawn.Process(target=_peer, args=(ports, me, orders, go, out)))
        ends.append(end)
    for peer in peers:
        peer.start()
    results = [end.recv() for end in ends]
    for peer in peers:
        peer.join()
    return results
