"""What a market refuses, and for which reason.

Owns every check on a market's configuration and on a command's own fields. Each function runs its
checks in the order of `Reason`, so the first reason that applies wins.

Must never change anything or look at the queue: `pre_trade_checks` decides what would cross.
"""

import re
from collections.abc import Mapping, Sequence

from engine.vocabulary import (
    ACCOUNT_LENGTH_MAX,
    CLIENT_ID_LENGTH_MAX,
    ID_MAX,
    MARKETS_EVER_MAX,
    MARKETS_MAX,
    SYMBOL_LENGTH_MAX,
    TIME_MS_MAX,
    Market,
    MarketStatus,
    OrderType,
    Reason,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
)

_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_INTEGER_MAX = 2**53 - 1

LIMIT = OrderType.LIMIT
MARKET = OrderType.MARKET
STOP = OrderType.STOP
STOP_LIMIT = OrderType.STOP_LIMIT
IOC = TimeInForce.IOC
FOK = TimeInForce.FOK
GTD = TimeInForce.GTD


class MarketError(ValueError):
    """A market's configuration that the engine can't run. Says what was expected and what came."""


def check_markets(markets: Sequence[Market]) -> None:
    """Raise MarketError unless an exchange can run all `markets`."""
    if not markets:
        raise MarketError("expected at least one market, got none")
    if len(markets) > MARKETS_EVER_MAX:
        raise MarketError(f"expected at most {MARKETS_EVER_MAX} markets, got {len(markets)}")
    seen: set[str] = set()
    for market in markets:
        check_market(market)
        if market.symbol in seen:
            raise MarketError(f"expected a symbol for each market, got {market.symbol!r} twice")
        seen.add(market.symbol)


def check_market(market: Market) -> None:
    """Raise MarketError unless an exchange can run this market."""
    symbol = market.symbol
    if not 1 <= len(symbol) <= SYMBOL_LENGTH_MAX:
        raise MarketError(
            f"expected a symbol of 1 to {SYMBOL_LENGTH_MAX} characters, got {symbol!r:.60}"
        )
    for name in ("tick", "lot"):
        text = getattr(market, name)
        if not _DECIMAL.fullmatch(text) or not text.strip("0."):
            raise MarketError(
                f"{symbol}: expected {name} to be a decimal above 0, got {text!r:.60}"
            )
    for name, least, most in (
        ("quantity_max", 1, _INTEGER_MAX),
        ("quantity_min", 1, market.quantity_max),
        ("price_max", 1, _INTEGER_MAX),
        ("price_band_percent", 0, 1_000_000),
        ("orders_per_account_max", 1, _INTEGER_MAX),
        ("orders_max", 1, _INTEGER_MAX),
        ("iceberg_slices_max", 1, 1_000_000),
    ):
        value = getattr(market, name)
        if not least <= value <= most:
            raise MarketError(f"{symbol}: expected {name} from {least} to {most}, got {value}")
    product = market.quantity_max * market.orders_max
    if product >= 2**63:
        raise MarketError(
            f"{symbol}: expected quantity_max times orders_max below 2**63, got {product}"
        )


def check_added(market: Market, known: Mapping[str, MarketStatus]) -> None:
    """Raise MarketError unless `market` can come to the `known` ones."""
    check_market(market)
    if market.symbol in known:
        raise MarketError(
            f"expected a new symbol, got {market.symbol!r}, which a market has or had"
        )
    if len(known) >= MARKETS_EVER_MAX:
        raise MarketError(f"expected at most {MARKETS_EVER_MAX} markets ever, got one more")
    if sum(status is not MarketStatus.CLOSED for status in known.values()) >= MARKETS_MAX:
        raise MarketError(f"expected at most {MARKETS_MAX} markets at once, got one more")


_GROW_ONLY = (
    *("quantity_max", "price_max", "orders_per_account_max"),
    *("orders_max", "iceberg_slices_max"),
)


def check_changed(before: Market, after: Market) -> None:
    """Raise MarketError unless a market may get these limits. An open order keeps the limits under
    which it came, so limits that hold for what is open may only grow."""
    check_market(after)
    for name in ("symbol", "tick", "lot"):
        if getattr(before, name) != getattr(after, name):
            raise MarketError(f"{before.symbol}: expected an unchanged {name}")
    for name in _GROW_ONLY:
        least, value = getattr(before, name), getattr(after, name)
        if value < least:
            raise MarketError(f"{before.symbol}: expected {name} of at least {least}, got {value}")


def malformed(command: Submit, market: Market, time_ms: int) -> Reason | None:
    """The first reason, up to INVALID_EXPIRY, why `command` is invalid in `market`."""
    if not 1 <= command.id <= ID_MAX:
        return Reason.INVALID_ID
    if not 1 <= len(command.account) <= ACCOUNT_LENGTH_MAX:
        return Reason.INVALID_ACCOUNT
    if len(command.client_id) > CLIENT_ID_LENGTH_MAX:
        return Reason.INVALID_CLIENT_ID
    if type(command.side) is not Side:
        return Reason.INVALID_SIDE
    if not _has_type(command):
        return Reason.INVALID_TYPE
    return _wrong_number(command, market, time_ms)


def _wrong_number(command: Submit, market: Market, time_ms: int) -> Reason | None:
    if command.quantity <= 0:
        return Reason.INVALID_QUANTITY
    if not has_price(command.type, command.price, market):
        return Reason.INVALID_PRICE
    if not _has_stop_price(command, market):
        return Reason.INVALID_STOP_PRICE
    if not _has_display(command, market):
        return Reason.INVALID_DISPLAY
    if not _has_expiry(command, time_ms):
        return Reason.INVALID_EXPIRY
    return None


def _has_type(command: Submit) -> bool:
    """Whether type, time in force, post-only and self-trade are known and fit together."""
    if (
        type(command.type) is not OrderType
        or type(command.tif) is not TimeInForce
        or type(command.self_trade) is not SelfTrade
    ):
        return False
    if command.post_only:
        return command.type is LIMIT and may_rest(command.type, command.tif)
    return not (command.type is MARKET and command.tif is GTD)


def has_price(type: OrderType, price: int, market: Market) -> bool:
    if type is LIMIT or type is STOP_LIMIT:
        return 1 <= price <= market.price_max
    return price == 0


def _has_stop_price(command: Submit, market: Market) -> bool:
    if command.type is STOP or command.type is STOP_LIMIT:
        return 1 <= command.stop_price <= market.price_max
    return command.stop_price == 0


def _has_display(command: Submit, market: Market) -> bool:
    """Only an order that may rest can hide quantity."""
    if command.display == 0:
        return True
    return (
        may_rest(command.type, command.tif)
        and 0 < command.display <= command.quantity
        and few_slices(command.quantity, command.display, market)
    )


def few_slices(quantity: int, display: int, market: Market) -> bool:
    """Whether `display` cuts `quantity` into no more slices than the market allows. Each slice is a
    trade, so without a limit one order could keep the engine busy for hours."""
    return display == 0 or quantity <= display * market.iceberg_slices_max


def _has_expiry(command: Submit, time_ms: int) -> bool:
    if command.tif is GTD:
        return time_ms < command.expire_ms <= TIME_MS_MAX
    return command.expire_ms == 0


def may_rest(type: OrderType, tif: TimeInForce) -> bool:
    """Whether such an order can stay in the book at its limit price."""
    return (type is LIMIT or type is STOP_LIMIT) and tif is not IOC and tif is not FOK


def may_stay(command: Submit) -> bool:
    """Whether these terms can leave an open order: one that rests, or a stop that waits."""
    return may_rest(command.type, command.tif) or command.stop_price != 0


def wrong_size(quantity: int, market: Market) -> Reason | None:
    if quantity < market.quantity_min:
        return Reason.QUANTITY_TOO_SMALL
    if quantity > market.quantity_max:
        return Reason.QUANTITY_TOO_LARGE
    return None


def band(reference: int, market: Market) -> tuple[int, int]:
    """The lowest and highest price allowed around `reference` (0: none), all in ticks."""
    if not market.price_band_percent or not reference:
        return 1, market.price_max
    reach = reference * market.price_band_percent // 100
    return max(1, reference - reach), min(market.price_max, reference + reach)
