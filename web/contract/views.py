"""What the outside sees of orders, books, trades and the mesh: plain values ready for JSON.

Owns the names and shapes of the JSON. Amounts are decimal strings, ids are text such as "2-17",
times are milliseconds since the Unix epoch. Pure.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from engine import Market, OrderType, Reason, Side, TimeInForce
from peer.client.protocol import Level, Mesh, Share, format_id
from peer.client.rejections import WORDS
from peer.client.units import Units
from peer.replica.order_state import OrderView
from peer.replica.trade import MarketTrade
from web.market_data.book_mirror import BookMirror, Delta, SideMirror, format_levels
from web.market_data.candles import Candle

Json = dict[str, Any]

SIDES = {Side.BUY: "buy", Side.SELL: "sell"}
TYPES = {kind: kind.name.lower() for kind in OrderType}
TIFS = {tif: tif.name.lower() for tif in TimeInForce}


# Whose an order is, nobody is told: to others it is as if there were none.
_TOLD = {Reason.NOT_OWNER: Reason.UNKNOWN_ORDER}


def explain(reason: Reason) -> Json:
    reason = _TOLD.get(reason, reason)
    return {"reason": reason.name.lower(), "detail": WORDS[reason]}


def market_json(market: Market) -> Json:
    price, quantity = Decimal(market.tick), Decimal(market.lot)
    return {
        "symbol": market.symbol,
        "tick": market.tick,
        "lot": market.lot,
        "quantity_min": f"{quantity * market.quantity_min:f}",
        "quantity_max": f"{quantity * market.quantity_max:f}",
        "price_max": f"{price * market.price_max:f}",
        "price_band_percent": market.price_band_percent,
    }


def trade_json(trade: MarketTrade, units: Units) -> Json:
    return {
        "number": trade.number,
        "time": trade.time_ms,
        "price": units.price.text(trade.price),
        "quantity": units.quantity.text(trade.quantity),
        "side": "sell" if trade.side else "buy",
        "maker": format_id(trade.maker),
        "taker": format_id(trade.taker),
    }


def order_json(order: OrderView, units: Units | None) -> Json:
    """An order; without the units of its market (it named one that does not exist) no amounts."""
    view: Json = {
        "id": format_id(order.id),
        "account": order.account,
        "market": order.market,
        "side": SIDES[order.side],
        "type": TYPES[order.type],
        "tif": TIFS[order.tif],
        "status": order.status.value,
        "client_id": order.client_id,
        "time": order.time_ms,
        "fills": [],
    }
    if units is not None:
        view |= _amounts(order, units)
    if order.expire_ms:
        view["expire"] = order.expire_ms
    if order.reason is not None:
        view |= explain(order.reason)
    return view


def _amounts(order: OrderView, units: Units) -> Json:
    price, quantity = units.price.text, units.quantity.text
    amounts: Json = {
        "price": price(order.price) if order.price else None,
        "quantity": quantity(order.quantity),
        "remaining": quantity(order.remaining),
        "filled": quantity(order.filled),
        "fills": [
            {"price": price(fill.price), "quantity": quantity(fill.quantity), "maker": fill.maker}
            for fill in order.fills
        ],
    }
    if order.stop_price:
        amounts |= {"stop_price": price(order.stop_price), "triggered": order.triggered}
    if order.display:
        amounts["display"] = quantity(order.display)
    return amounts


def book_json(mirror: BookMirror, depth: int) -> Json:
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    return {
        "market": mirror.units.market.symbol,
        "seq": mirror.number,
        "commit": mirror.commit,
        "time": mirror.time_ms,
        "digest": mirror.digest.hex(),
        "bids": format_levels(mirror.bids.levels(depth), price, quantity),
        "asks": format_levels(mirror.asks.levels(depth), price, quantity),
        "checksum": mirror.checksum(),
    }


def grouped_json(mirror: BookMirror, depth: int, group: int, peers: bool) -> Json:
    """Both sides merged into steps of `group` ticks, never showing a better price than there is;
    with `peers` also what each of them has taken of a step."""
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    view: Json = {}
    for name, side, sign in (("bid", mirror.bids, 1), ("ask", mirror.asks, -1)):
        steps = _steps(side, depth, sign * group)
        levels = [
            (step, sum(level[1] for level in merged), sum(level[2] for level in merged))
            for step, merged in steps.items()
        ]
        view[f"{name}s"] = format_levels(levels, price, quantity)
        if peers:
            shares = (
                [s for level in merged for s in side.shares(level[0])] for merged in steps.values()
            )
            view[f"{name}_peers"] = [shares_json(each, quantity) for each in shares]
    return view


def _steps(side: SideMirror, depth: int, group: int) -> dict[int, list[Level]]:
    """The levels of the first `depth` steps of `group` ticks, by step; below zero: rounded up."""
    steps: dict[int, list[Level]] = {}
    for level in side.levels(len(side)):
        step = level[0] // group * group
        if step not in steps and len(steps) == depth:
            break
        steps.setdefault(step, []).append(level)
    return steps


def shares_json(
    shares: Iterable[Share], quantity: Callable[[int], str]
) -> list[tuple[int, str, int]]:
    """What each peer has taken of a level, or of several: its number as in ids, shown quantity,
    orders."""
    merged: dict[int, tuple[int, int]] = {}
    for member, lots, orders in shares:
        known = merged.get(member, (0, 0))
        merged[member] = (known[0] + lots, known[1] + orders)
    return [
        (member + 1, quantity(lots), orders) for member, (lots, orders) in sorted(merged.items())
    ]


def ticker_json(mirror: BookMirror, now_ms: int) -> Json:
    """Best prices, the last trade, and the last 24 hours; null where there is none."""
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    view: Json = {"market": mirror.units.market.symbol}
    for name, side in (("bid", mirror.bids), ("ask", mirror.asks)):
        best = side.levels(1)
        view[name] = price(best[0][0]) if best else None
        view[f"{name}_quantity"] = quantity(best[0][1]) if best else None
    last = mirror.trades[0] if mirror.trades else None
    return (
        view
        | {
            "last": price(last.price) if last else None,
            "last_quantity": quantity(last.quantity) if last else None,
            "last_time": last.time_ms if last else None,
            "trades": last.number if last else 0,
        }
        | _day_json(mirror, max(now_ms, mirror.time_ms))
    )


def _day_json(mirror: BookMirror, now_ms: int) -> Json:
    day = mirror.candles.day(now_ms)
    price, traded = mirror.units.price.text, day.open > 0
    change = day.close - day.open
    sign = "-" if change < 0 else ""
    # In hundredths of a percent, half away from zero.
    share = (20_000 * abs(change) + day.open) // (2 * day.open) if traded else 0
    return {
        "open": price(day.open) if traded else None,
        "high": price(day.high) if traded else None,
        "low": price(day.low) if traded else None,
        "change": sign + price(abs(change)) if traded else None,
        "change_percent": f"{sign}{share // 100}.{share % 100:02}" if traded else None,
        "volume": mirror.units.quantity.text(day.volume),
        "since": day.since_ms,
    }


def delta_json(mirror: BookMirror, delta: Delta) -> Json:
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    return {
        "channel": "book",
        "type": "delta",
        "market": mirror.units.market.symbol,
        "seq": delta.number,
        "commit": mirror.commit,
        "time": mirror.time_ms,
        "bids": format_levels(delta.bids, price, quantity),
        "asks": format_levels(delta.asks, price, quantity),
        "checksum": mirror.checksum(),
    }


def peers_json(mirror: BookMirror, kind: str, bids: Iterable[Level], asks: Iterable[Level]) -> Json:
    """Of each level, its price and what each peer has taken of it; nothing of one that is gone."""
    price, quantity = mirror.units.price.text, mirror.units.quantity.text
    view: Json = {
        "channel": "peers",
        "type": kind,
        "seq": mirror.number,
        "market": mirror.units.market.symbol,
    }
    for name, side, levels in (("bids", mirror.bids, bids), ("asks", mirror.asks, asks)):
        shares = ((level[0], side.shares(level[0])) for level in levels)
        view[name] = [(price(ticks), shares_json(each, quantity)) for ticks, each in shares]
    return view


def trades_json(trades: Iterable[MarketTrade], units: Units) -> list[Json]:
    return [trade_json(trade, units) for trade in trades]


def candle_json(candle: Candle, units: Units) -> Json:
    price = units.price.text
    return {
        "time": candle.time_ms,
        "open": price(candle.open),
        "high": price(candle.high),
        "low": price(candle.low),
        "close": price(candle.close),
        "volume": units.quantity.text(candle.volume),
        "trades": candle.trades,
    }


def mesh_json(mesh: Mesh) -> Json:
    return {
        "peer": mesh.peer,
        "mesh": mesh.mesh,
        "mode": mesh.mode,
        "quorum": mesh.quorum,
        "quorum_size": mesh.quorum_size,
        "round": mesh.round,
        "commit": mesh.commit,
        "digest": mesh.digest.hex(),
        "pending": mesh.pending,
        "finality_ms": mesh.finality_ms,
        "halted": mesh.halted,
        "alarms": mesh.alarms,
        "catching_up": mesh.catching_up,
        "refused": mesh.refused,
        "unanswered": mesh.unanswered,
        "oldest_pending_ms": mesh.oldest_pending_ms,
        "peers": [
            {
                "name": member.name,
                "key": member.key,
                "address": member.address,
                "self": member.name == mesh.peer,
                "alive": member.alive,
                "round": member.round,
                "commit": member.commit,
                "age_ms": member.age_ms,
                "agrees": member.agrees,
                "unread": member.unread,
                "barred": member.barred,
                "hears": member.hears,
                "renewed": member.renewed,
            }
            for member in mesh.members
        ],
    }
