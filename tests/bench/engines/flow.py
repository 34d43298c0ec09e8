"""The order flow of the engine's benchmark, the same for every engine that runs it.

Owns the generator; must never import an engine. A small book of its own tells it which orders are
alive, so that cancels hit, and which trades a right engine makes, so that they can be compared.

57 % limit orders that rest, 33 % cancels of live orders, 10 % orders that trade at once; about
10,000 live orders over 900 levels and 0.31 trades an operation.
"""

import bisect
import random
from collections import OrderedDict
from typing import NamedTuple

ADD, CANCEL = 0, 1
MIDDLE = 10_000  # ticks
LEVELS = 450  # a side
NEAR = 8  # levels a side, in which half of the orders are placed
BEFORE = 8_000  # orders in the book when the clock starts; 13,000 when it stops
ACCOUNTS = 1_000


class Operation(NamedTuple):
    kind: int
    id: int  # of the order, given by ADD and meant by CANCEL
    account: int
    side: int  # 0 buy, 1 sell
    price: int
    quantity: int


class Flow(NamedTuple):
    before: list[Operation]  # fills the book, before the clock starts
    measured: list[Operation]
    trades: list[tuple[int, int, int, int]]  # maker, taker, price, quantity
    live: int  # orders in the end
    levels: int  # in the end


class _Model:
    """A book good enough to follow the flow: no rules, prices as sorted keys."""

    def __init__(self) -> None:
        self.queues: tuple[dict[int, OrderedDict[int, int]], ...] = ({}, {})
        self.keys: tuple[list[int], list[int]] = ([], [])
        self.live: list[Operation] = []
        self.places: dict[int, int] = {}
        self.trades: list[tuple[int, int, int, int]] = []

    def rest(self, order: Operation) -> None:
        key = order.price if order.side else -order.price
        queue = self.queues[order.side].get(key)
        if queue is None:
            queue = self.queues[order.side][key] = OrderedDict()
            bisect.insort(self.keys[order.side], key)
        queue[order.id] = order.quantity
        self.places[order.id] = len(self.live)
        self.live.append(order)

    def drop(self, order: Operation) -> None:
        key = order.price if order.side else -order.price
        queue = self.queues[order.side][key]
        del queue[order.id]
        if not queue:
            del self.queues[order.side][key]
            self.keys[order.side].remove(key)
        last = self.live.pop()
        place = self.places.pop(order.id)
        if last is not order:
            self.live[place] = last
            self.places[last.id] = place

    def take(self, taker: Operation) -> None:
        side = 1 - taker.side
        left = taker.quantity
        while left:
            key = self.keys[side][0]
            queue = self.queues[side][key]
            maker, open_ = next(iter(queue.items()))
            traded = min(left, open_)
            left -= traded
            self.trades.append((maker, taker.id, abs(key), traded))
            if traded == open_:
                self.drop(self.live[self.places[maker]])
            else:
                queue[maker] = open_ - traded


def generate(operations: int = 200_000, seed: int = 1) -> Flow:
    """The flow of that seed."""
    draw = random.Random(seed)
    model = _Model()

    def resting(id: int) -> Operation:
        side = draw.randrange(2)
        away = 1 + draw.randrange(NEAR if draw.random() < 0.46 else LEVELS)
        price = MIDDLE + away if side else MIDDLE - away
        return Operation(ADD, id, draw.randrange(ACCOUNTS), side, price, 1 + draw.randrange(100))

    def taking(id: int) -> Operation:
        side = draw.randrange(2)
        price = MIDDLE - LEVELS if side else MIDDLE + LEVELS
        quantity = 1 + draw.randrange(220)
        return Operation(ADD, id, draw.randrange(ACCOUNTS), side, price, quantity)

    before = [resting(id) for id in range(1, BEFORE + 1)]
    for operation in before:
        model.rest(operation)
    measured = []
    for id in range(BEFORE + 1, BEFORE + operations + 1):
        roll = draw.random()
        if roll < 0.57:
            operation = resting(id)
            model.rest(operation)
        elif roll < 0.90:
            victim = model.live[draw.randrange(len(model.live))]
            operation = victim._replace(kind=CANCEL)
            model.drop(victim)
        else:
            operation = taking(id)
            model.take(operation)
        measured.append(operation)
    return Flow(before, measured, model.trades, len(model.live), sum(map(len, model.keys)))
