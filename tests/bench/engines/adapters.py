"""What each engine wants to be told, and what it says about trades.

Owns one adapter an engine. Runs in that engine's own environment and Python, so it imports nothing
but the standard library, `flow` beside it, and the engine inside the adapter's constructor.

What counts as the engine's work is the same for all. A command that only says what is wanted is
made before the clock starts. An object that the engine keeps as its own record of an order (an
`Order` of cython-orderbook, a `SimpleOrder` of liquibook) is made while it runs, as ours,
matching-engine and lightmatchingengine make theirs while they run.

    python adapters.py NAME OPERATIONS SEED BATCH [check]       prints one line of JSON
"""

import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from flow import CANCEL, Flow, Operation, generate

Trade = tuple[int, int, int, int]  # maker, taker, price, quantity
SYMBOL = "BTC-USD"
RUNS = 3  # of which the least disturbed counts


class Adapter:
    """`stage` is for a batch long before it runs, `prepare` right before, outside the clock, `run`
    inside. `trades` are told after a run that listened."""

    package = ""  # as the registry calls it
    compiled = False  # ours, by mypyc

    def __init__(self, listen: bool) -> None:
        self.listen = listen
        self.trades: list[Trade] = []

    def stage(self, operations: list[Operation]) -> Any:
        return operations

    def prepare(self, staged: Any) -> Any:
        return staged

    def run(self, prepared: Any) -> None:
        raise NotImplementedError


class Ours(Adapter):
    """p2p-orderbook, a batch at a time, as the node does. Events are dropped as they come."""

    def __init__(self, listen: bool) -> None:
        super().__init__(listen)
        import msgspec

        from engine import Cancel, Command, Exchange, Market, Side, Submit, Trade

        self.exchange = Exchange([Market(SYMBOL, "0.01", "0.01")])
        self.kinds = (Submit, Cancel, Trade)
        self.sides = tuple(Side)
        self.encode = msgspec.msgpack.encode
        self.decode = msgspec.msgpack.Decoder(list[Command]).decode
        self.compiled = not sys.modules["engine.book"].__file__.endswith(".py")  # type: ignore[union-attr]

    def stage(self, operations: list[Operation]) -> Any:
        submit, cancel, _ = self.kinds
        return self.encode(
            [
                cancel(0, f"account {o.account}", o.id)
                if o.kind == CANCEL
                else submit(
                    o.id,
                    f"account {o.account}",
                    SYMBOL,
                    self.sides[o.side],
                    o.quantity,
                    o.price,
                )
                for o in operations
            ]
        )

    def prepare(self, staged: Any) -> Any:
        return self.decode(staged)  # as the node does

    def run(self, prepared: Any) -> None:
        results = self.exchange.apply_batch(prepared)
        if self.listen:
            for events in results:
                self.hear(events)

    def hear(self, events: list[Any]) -> None:
        self.trades += [
            (event.maker, event.taker, event.price, event.quantity)
            for event in events
            if type(event) is self.kinds[2]
        ]


class OursOneByOne(Ours):
    """p2p-orderbook, one call a command."""

    def run(self, prepared: Any) -> None:
        apply = self.exchange.apply
        for command in prepared:
            events = apply(command)
            if self.listen:
                self.hear(events)


class MatchingEngine(Adapter):
    package = "matching-engine"

    def __init__(self, listen: bool) -> None:
        super().__init__(listen)
        from matching_engine import domain
        from matching_engine.engine import MatchingEngine
        from matching_engine.events import Trade

        self.domain, self.trade = domain, Trade
        self.sides = tuple(domain.Side)
        self.engine = MatchingEngine()
        self.sequence = 0

    def prepare(self, staged: Any) -> Any:
        domain = self.domain
        commands = []
        for o in staged:
            self.sequence += 1
            if o.kind == CANCEL:
                command = domain.CancelOrder(o.id, o.account)
            else:
                command = domain.NewOrder(
                    o.id,
                    o.account,
                    self.sides[o.side],
                    o.price,
                    o.quantity,
                    stp=domain.SelfTradePrevention.NONE,
                )
            commands.append(domain.SequencedCommand(self.sequence, 0, command))
        return commands

    def run(self, prepared: Any) -> None:
        process = self.engine.process
        if not self.listen:
            for command in prepared:
                process(command)
            return
        for command in prepared:
            self.trades += [
                (event.maker_order_id, event.taker_order_id, event.price, event.qty)
                for event in process(command)
                if type(event) is self.trade
            ]


class Liquibook(Adapter):
    """The bare book, told nothing back: no listener, no depth."""

    package = "liquibook"
    book_class = "liquibook_book_OrderBook"
    always_listens = False

    def __init__(self, listen: bool) -> None:
        super().__init__(listen)
        import liquibook

        self.make = liquibook.SimpleOrder
        self.book = getattr(liquibook, self.book_class)()
        self.orders: dict[int, Any] = {}
        self.ids: dict[int, int] = {}  # the engine's own id -> ours
        adapter = self

        class Listener(liquibook.OrderListener):  # type: ignore[misc]
            def on_accept(self, order: Any) -> None:
                pass

            def on_cancel(self, order: Any) -> None:
                pass

            def on_fill(self, taker: Any, maker: Any, quantity: int, price: int) -> None:
                if adapter.listen:
                    ids = adapter.ids
                    adapter.trades.append(
                        (ids[maker.order_id_], ids[taker.order_id_], price, quantity)
                    )

        if listen or self.always_listens:
            self.listener = Listener()
            self.book.set_order_listener(self.listener)

    def run(self, prepared: Any) -> None:
        book, orders, make, ids = self.book, self.orders, self.make, self.ids
        for o in prepared:
            if o.kind == CANCEL:
                book.cancel(orders[o.id])
            else:
                order = orders[o.id] = make(o.side == 0, o.price, o.quantity)
                if self.listen:
                    ids[order.order_id_] = o.id
                book.add(order)


class LiquibookTold(Liquibook):
    """The documented book, told of accepts, cancels and fills."""

    book_class = "DepthOrderBook"
    always_listens = True


class CythonOrderbook(Adapter):
    package = "cython-orderbook"

    def __init__(self, listen: bool) -> None:
        super().__init__(listen)
        import cython_orderbook

        self.make = cython_orderbook.Order
        self.sides = tuple(cython_orderbook.OrderSide)
        self.book = cython_orderbook.OrderBook()
        self.orders: dict[int, str] = {}

    def run(self, prepared: Any) -> None:
        book, orders, make, sides = self.book, self.orders, self.make, self.sides
        for o in prepared:
            if o.kind == CANCEL:
                book.cancel_order(orders[o.id])
            else:
                order = make(sides[o.side], o.quantity, o.price)
                orders[o.id] = order.order_id
                book.add_limit_order(order)
        if self.listen:
            ids = {theirs: id for id, theirs in orders.items()}
            self.trades += [
                (ids[t.filler_id], ids[t.aggressor_id], t.price, t.quantity_filled)
                for t in book.trade_log
            ]
        book.trade_log.clear()


class LightMatchingEngine(Adapter):
    package = "lightmatchingengine"

    def __init__(self, listen: bool) -> None:
        super().__init__(listen)
        from lightmatchingengine.lightmatchingengine import LightMatchingEngine

        self.engine = LightMatchingEngine()
        self.orders: dict[int, int] = {}
        self.ids: dict[int, int] = {}

    def run(self, prepared: Any) -> None:
        engine, orders = self.engine, self.orders
        for o in prepared:
            if o.kind == CANCEL:
                engine.cancel_order(orders[o.id], SYMBOL)
                continue
            order, trades = engine.add_order(SYMBOL, o.price, o.quantity, o.side + 1)
            orders[o.id] = order.order_id
            if self.listen:
                self.ids[order.order_id] = o.id
                self.trades += [
                    (self.ids[t.order_id], o.id, t.trade_price, t.trade_qty)
                    for t in trades
                    if t.order_id != order.order_id
                ]


ADAPTERS: dict[str, Callable[[bool], Adapter]] = {
    "ours": Ours,
    "ours, one by one": OursOneByOne,
    "matching-engine": MatchingEngine,
    "liquibook": Liquibook,
    "liquibook, told": LiquibookTold,
    "cython-orderbook": CythonOrderbook,
    "lightmatchingengine": LightMatchingEngine,
}


def run(name: str, flow: Flow, batch: int, listen: bool) -> tuple[float, Adapter]:
    """Processor seconds spent on the measured operations, and the adapter that ran them."""
    adapter = ADAPTERS[name](listen)
    adapter.run(adapter.prepare(adapter.stage(flow.before)))
    starts = range(0, len(flow.measured), batch)
    spent = 0.0
    for staged in [adapter.stage(flow.measured[start : start + batch]) for start in starts]:
        prepared = adapter.prepare(staged)
        began = time.process_time()
        adapter.run(prepared)
        spent += time.process_time() - began
    return spent, adapter


def fingerprint(rows: Iterable[tuple[int, ...]]) -> str:
    return sha256(repr([tuple(map(int, row)) for row in rows]).encode()).hexdigest()


def main(name: str, operations: int, seed: int, batch: int, check: bool) -> None:
    flow = generate(operations, seed)
    gc.collect()
    gc.freeze()  # the flow is the benchmark's own: no engine pays for scanning it
    runs = [run(name, flow, batch, listen=check) for _ in range(1 if check else RUNS)]
    adapter = runs[0][1]
    answer = {
        "seconds": min(spent for spent, _ in runs),
        "python": platform.python_version(),
        "version": version(adapter.package) if adapter.package else "",
        "compiled": adapter.compiled,
        "flow": fingerprint(flow.measured),
        "right": adapter.trades == flow.trades if check else None,
        "trades": len(adapter.trades),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), check=sys.argv[5:] == ["check"])
