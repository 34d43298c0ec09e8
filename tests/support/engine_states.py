"""Exchanges in a state that a test wants: the commands, and what they lead to."""

import msgspec

from engine import (
    Command,
    Exchange,
    Market,
    OrderType,
    Side,
    Submit,
    TimeInForce,
)

MARKET = Market("X", "0.01", "0.001")


LIMIT = Submit(1, "ann", "X", Side.BUY, 10, 100)


ICEBERG = Submit(1, "ann", "X", Side.BUY, 10, 100, display=3)


STOP = Submit(1, "ann", "X", Side.BUY, 10, 0, OrderType.STOP, stop_price=110)


DATED = Submit(1, "ann", "X", Side.BUY, 10, 100, tif=TimeInForce.GTD, expire_ms=9)


def after(
    *commands: Command | int, market: Market = MARKET, exchange_class: type[Exchange] = Exchange
) -> Exchange:
    exchange = exchange_class([market])
    for command in commands:
        if isinstance(command, int):
            exchange.advance(command)
        else:
            exchange.apply(command)
    return exchange


def but(command: Command, **fields: object) -> Command:
    changed: Command = msgspec.structs.replace(command, **fields)
    return changed


OTHER = but(LIMIT, id=2)
