"""Random commands that often interact: few prices, few accounts, all kinds of commands.

Owns the generator for the engine's differential tests. It draws through `choose`, so that one
generator serves both seeded `random` and Hypothesis, which shrinks a failure.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    Cancel,
    CancelAll,
    Command,
    Halt,
    Market,
    OrderType,
    Reduce,
    Replace,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
)

Choose = Callable[[Sequence[Any]], Any]

TIGHT = Market(
    symbol="TIGHT",
    tick="0.01",
    lot="0.001",
    quantity_min=2,
    quantity_max=60,
    price_max=140,
    price_band_percent=10,
    orders_per_account_max=5,
    orders_max=9,
    iceberg_slices_max=8,
)
WIDE = Market(symbol="WIDE", tick="1", lot="1")
MARKETS = (TIGHT, WIDE)
ACCOUNTS = ("ann", "bob", "cyd")

PRICES = (*range(94, 108), *range(98, 103), *range(98, 103))
QUANTITIES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 60)
TYPES = (OrderType.LIMIT,) * 7 + (OrderType.MARKET, OrderType.STOP, OrderType.STOP_LIMIT)
TIFS = (TimeInForce.GTC,) * 6 + (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD)
ODD_NUMBERS = (0, -1, 1, 141, 10**13, 2**63 - 1, -(2**63), 2**64 - 1)
ID_STEP = 1_000  # now and then, so that orders are in several pieces
KINDS = ("submit",) * 14 + ("cancel",) * 2 + ("replace",) * 3 + ("reduce",) * 2
KINDS += ("cancel_all", "state", "odd", "advance")


class Flow:
    """Draws steps. A step is a command, or an int: the time to advance to."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.id = self.steps = 0
        self.time_ms = 0
        self.given: list[tuple[int, str]] = []

    def step(self) -> Command | int:
        self.steps += 1
        self.id += 1 if self.steps % 10 else ID_STEP
        kind = self.choose(KINDS)
        if kind == "submit":
            return self._submit()
        if kind == "odd":
            return self._odd()
        if kind == "advance":
            self.time_ms += self.choose((0, 1, 2, 5, -3))
            return self.time_ms
        if kind == "cancel_all":
            market = self.choose(("", "TIGHT", "WIDE", "NONE"))
            side = self.choose((None, Side.BUY, Side.SELL))
            return CancelAll(self.id, self.choose(ACCOUNTS), market, side)
        if kind == "state":
            command = self.choose((Halt, Resume, Resume, Resume, Resume, Resume))
            chosen: Command = command(self.id, "ann", self.choose(("TIGHT", "WIDE", "NONE")))
            return chosen
        return self._change(kind)

    def _submit(self) -> Submit:
        choose = self.choose
        type = choose(TYPES)
        tif = choose(TIFS)
        limit = type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        stop = type in (OrderType.STOP, OrderType.STOP_LIMIT)
        account = choose(ACCOUNTS)
        hides = limit and tif not in (TimeInForce.IOC, TimeInForce.FOK)
        self.given.append((self.id, account))
        return Submit(
            self.id,
            account,
            choose(("TIGHT", "WIDE")),
            choose((Side.BUY, Side.SELL)),
            choose(QUANTITIES),
            price=choose(PRICES) if limit else 0,
            type=type,
            tif=tif,
            post_only=hides and not stop and choose((False,) * 6 + (True,)),
            stop_price=choose(PRICES) if stop else 0,
            display=choose((0,) * 5 + (1, 2, 3, 4, 6)) if hides else 0,
            self_trade=choose((*(SelfTrade.NONE,) * 5, *SelfTrade)),
            expire_ms=self.time_ms + choose((1, 2, 3, 8)) if tif is TimeInForce.GTD else 0,
        )

    def _change(self, kind: str) -> Command:
        choose = self.choose
        order, account = choose(self.given[-12:] or [(1, "ann")])
        account = choose((account,) * 9 + ("cyd",))
        if kind == "cancel":
            return Cancel(self.id, account, order)
        quantity = choose((0, *QUANTITIES))
        if kind == "reduce":
            return Reduce(self.id, account, order, quantity)
        return Replace(self.id, account, order, choose((0, *PRICES)), quantity)

    def _odd(self) -> Command:
        """A submit with one invalid or extreme field."""
        terms = self._submit()
        choose = self.choose
        field = choose(
            (
                "id",
                "quantity",
                "price",
                "stop_price",
                "display",
                "expire_ms",
                "account",
                "client_id",
                "market",
            )
        )
        if field == "account":
            value: object = choose(("", "x" * ACCOUNT_LENGTH_MAX, "x" * (ACCOUNT_LENGTH_MAX + 1)))
        elif field == "client_id":
            value = choose(("mine", "x" * CLIENT_ID_LENGTH_MAX, "x" * (CLIENT_ID_LENGTH_MAX + 1)))
        elif field == "market":
            value = "NONE"
        elif field == "id":
            value = choose((*ODD_NUMBERS[:2], *ODD_NUMBERS[5:], choose(self.given[-3:])[0]))
        else:
            value = choose(ODD_NUMBERS)
        fields = {name: getattr(terms, name) for name in terms.__struct_fields__}
        return Submit(**{**fields, field: value})
