"""Engine scripts: commands and events as text that a person can read and write.

Owns the notation of `tests/golden/engine/*.txt` and of the examples in `docs/engine.md`. A line at
the margin is a command, the indented lines under it are all events that it caused. Commands are
numbered from 1 in their order.

    buy ann 5 @101            also: market, ioc, fok, gtd=9, post, show=2, stop=105, client=mine,
                              stp=cancel-resting|cancel-incoming|cancel-both|decrement, in=OTHER
    cancel ann #1             cancel-all ann [buy|sell] [in=OTHER]
    reduce ann #1 x3          replace ann #1 [@102] [x3]
    halt ann [in=OTHER]       resume ann [in=OTHER]
    time 9                    book [in=OTHER]
    add OTHER min=2           change OTHER min=3       close OTHER     cancel-account ann
    market OTHER min=2        before the first command; the default market is X
"""

from collections.abc import Iterator

import msgspec

from engine import (
    Accepted,
    Cancel,
    CancelAll,
    Cancelled,
    Command,
    Event,
    Exchange,
    Expired,
    Halt,
    Market,
    MarketState,
    OrderType,
    Reduce,
    Reduced,
    Rejected,
    Replace,
    Replaced,
    Resume,
    SelfTrade,
    Side,
    Submit,
    TimeInForce,
    Trade,
    Triggered,
)

LIMITS = {
    "min": "quantity_min",
    "max": "quantity_max",
    "price": "price_max",
    "band": "price_band_percent",
    "account": "orders_per_account_max",
    "orders": "orders_max",
    "slices": "iceberg_slices_max",
}


def play(script: str, exchange_class: type[Exchange] = Exchange) -> str:
    """The script with the events that its commands cause, in place of those it had."""
    lines = script.splitlines()
    exchange = exchange_class(list(_markets(lines)) or [_market("X", [])])
    number = 0
    out = []
    for line in lines:
        words = line.partition("//")[0].split()
        if line.startswith(" "):
            continue
        out.append(line.rstrip())
        if not words or words[0] in ("market", "#"):
            continue
        if words[0] == "time":
            events = exchange.advance(int(words[1]))
        elif words[0] in ("add", "change", "close", "cancel-account"):
            try:
                events = _govern(exchange, words)
            except ValueError as error:
                out.append(f"  impossible: {error}")
                continue
        elif words[0] == "book":
            out += [f"  {text}" for text in _book(exchange, _option(words, "in", "X"))]
            continue
        else:
            number += 1
            events = exchange.apply(parse(words, number))
        exchange.check()
        out += [f"  {render(event)}" for event in events] or ["  nothing"]
    return "\n".join(out) + "\n"


def _markets(lines: list[str]) -> Iterator[Market]:
    for line in lines:
        words = line.split()
        if words and words[0] == "market" and not line.startswith(" "):
            yield _market(words[1], words[2:])


def _market(symbol: str, options: list[str]) -> Market:
    return Market(symbol, "1", "1", **_limits(options))


def _limits(options: list[str]) -> dict[str, int]:
    return {LIMITS[name]: int(value) for name, _, value in (o.partition("=") for o in options)}


def _govern(exchange: Exchange, words: list[str]) -> list[Event]:
    kind, name, *options = words
    match kind:
        case "add":
            return exchange.add_market(_market(name, options))
        case "change":
            limits = _limits(options)
            return exchange.change_market(msgspec.structs.replace(exchange.market(name), **limits))
        case "close":
            return exchange.close_market(name)
    return exchange.cancel_account(name)


def _option(words: list[str], name: str, default: str) -> str:
    found = [word for word in words if word.startswith(f"{name}=")]
    return found[-1].partition("=")[2] if found else default


def _number(words: list[str], mark: str) -> int:
    found = [word for word in words if word.startswith(mark) and word[len(mark) :].isdigit()]
    return int(found[-1][len(mark) :]) if found else 0


def parse(words: list[str], id: int) -> Command:
    """The command on one line; `id` is its number."""
    kind, account = words[:2]
    market = _option(words, "in", "X")
    if kind == "cancel":
        return Cancel(id, account, _number(words, "#"))
    if kind == "cancel-all":
        sides = [Side[word.upper()] for word in words if word in ("buy", "sell")]
        return CancelAll(id, account, _option(words, "in", ""), *sides)
    if kind == "reduce":
        return Reduce(id, account, _number(words, "#"), _number(words, "x"))
    if kind == "replace":
        return Replace(id, account, _number(words, "#"), _number(words, "@"), _number(words, "x"))
    if kind in ("halt", "resume"):
        return (Halt if kind == "halt" else Resume)(id, account, market)
    stop_price = int(_option(words, "stop", "0"))
    names = {"ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
    tifs = [names[word] for word in words if word in names]
    expire_ms = int(_option(words, "gtd", "0"))
    if stop_price:
        type = OrderType.STOP if "market" in words else OrderType.STOP_LIMIT
    else:
        type = OrderType.MARKET if "market" in words else OrderType.LIMIT
    return Submit(
        int(_option(words, "id", str(id))),
        account,
        market,
        Side[kind.upper()],
        int(words[2]),
        price=_number(words, "@"),
        type=type,
        tif=tifs[0] if tifs else TimeInForce.GTD if expire_ms else TimeInForce.GTC,
        post_only="post" in words,
        stop_price=stop_price,
        display=int(_option(words, "show", "0")),
        self_trade=SelfTrade[_option(words, "stp", "none").replace("-", "_").upper()],
        expire_ms=expire_ms,
        client_id=_option(words, "client", ""),
    )


def render(event: Event) -> str:
    """One event in words, with all its fields, except those with a default value."""
    match event:
        case Accepted():
            return " ".join(_accepted(event))
        case Trade():
            verb = "bought" if event.side is Side.BUY else "sold"
            return (
                f"trade {event.quantity} @{event.price}"
                f" #{event.taker} {event.taker_account} {verb}, left {event.taker_remaining};"
                f" #{event.maker} {event.maker_account} left {event.maker_remaining}"
                f"{_in(event.market)}"
            )
        case Rejected():
            return f"rejected #{event.id} {event.account} {event.reason.name}"
        case MarketState():
            return f"market {event.market} {event.status.name.lower()}"
        case Reduced() | Replaced() | Cancelled() | Expired() | Triggered():
            side = event.side.name.lower()
            price = f" @{event.price}" if event.price else ""
            kind = type(event).__name__.lower()
            what = f"{kind} #{event.id} {event.account} {side} {event.remaining}{price}"
            reason = getattr(event, "reason", None)
            return what + _in(event.market) + (f" {reason.name}" if reason else "")


def _accepted(event: Accepted) -> Iterator[str]:
    yield f"accepted #{event.id} {event.account} {event.side.name.lower()} {event.quantity}"
    if event.price:
        yield f"@{event.price}"
    if event.type is not OrderType.LIMIT:
        yield event.type.name.lower()
    if event.tif is not TimeInForce.GTC:
        yield event.tif.name.lower()
    for name in ("stop_price", "display", "expire_ms", "client_id"):
        if getattr(event, name):
            yield f"{name}={getattr(event, name)}"
    if event.market != "X":
        yield f"in={event.market}"


def _in(market: str) -> str:
    return "" if market == "X" else f" in={market}"


def _book(exchange: Exchange, market: str) -> list[str]:
    book = exchange.books[market]
    lines = []
    for name, ladder in zip(
        ("bid", "ask", "buy stop", "sell stop"), (*book.sides, *book.stops), strict=True
    ):
        for level in ladder:
            orders = ", ".join(
                f"#{order.id} {order.remaining - order.hidden}"
                + (f"+{order.hidden}" if order.hidden else "")
                for order in level
            )
            lines.append(f"{name} @{level.price}: {orders}")
    return lines or ["empty"]
