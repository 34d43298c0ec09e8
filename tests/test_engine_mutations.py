"""Bugs seeded on purpose: the suite has to notice every one.

Each is a change of the engine's source text, made in a copy of the package. `hunt` is what the
other tests do, in short: the scripts, then random commands against the naive book and the event
reader, invariants, level changes, snapshots and digests.
"""

import importlib
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import engine
from engine import Exchange
from engine.orders import Side
from tests.engine_flow import MARKETS, Flow
from tests.engine_script import play
from tests.test_engine_differential import Trio, queue_of
from tests.test_engine_golden import scripts
from tests.test_engine_state import DIFFERENT, after

SOURCE = Path(engine.__file__).parent
SEEDS = 40
STEPS = 120

# What is wrong: the module, the text as it is, the text as it is not to be.
BUGS = {
    "LIFO queue, fast lane": (
        "lane",
        "level.previous = back.next = orders[id] = mine[id] = Order(",
        "level.next = level.next.previous = orders[id] = mine[id] = Order(",
    ),
    "LIFO queue": (
        "ladder",
        "        order.previous = self.previous\n        order.next = self\n"
        "        self.previous.next = order\n        self.previous = order",
        "        order.previous = self\n        order.next = self.next\n"
        "        self.next.previous = order\n        self.next = order",
    ),
    "a larger quantity keeps its place": (
        "book",
        "        self.remove(order)\n        order.price = price",
        "        if price == order.price and quantity > order.remaining and not order.hidden:\n"
        "            order.quantity = order.remaining = quantity\n"
        "            order.level.ladder.touch(order.level)\n"
        "            return [Replaced(order.id, order.account, order.market, order.side, price,"
        " quantity)]\n"
        "        self.remove(order)\n        order.price = price",
    ),
    "a partial fill loses its place": (
        "ladder",
        "if order.remaining == hidden:",
        "if order.remaining == hidden or not hidden:",
    ),
    "stale best after a level closes": (
        "ladder",
        "            self.best = self.levels[self.best_key]",
        "            pass",
    ),
    "a better level is not the best": ("ladder", "if key < self.best_key:", "if not self.best:"),
    "cancel in mid-queue breaks the list, fast lane": (
        "lane",
        "            after.previous = before\n",
        "",
    ),
    "cancel in mid-queue breaks the list": (
        "book",
        "        following.previous = previous\n",
        "",
    ),
    "a cancelled order stays in the index, fast lane": (
        "lane",
        "            del orders[id]\n",
        "",
    ),
    "an account keeps what it cancelled": ("book", "        del mine[id]\n", ""),
    "the price of the taker": (
        "book",
        "            price = level.price\n",
        "            price = taker.price or level.price\n",
    ),
    "FOK counts what is shown only": (
        "book",
        "quantity -= shown + hidden",
        "quantity -= shown",
    ),
    "FOK counts what is hidden twice": (
        "book",
        "quantity -= shown + hidden",
        "quantity -= shown + 2 * hidden",
    ),
    "FOK looks beyond its limit": (
        "book",
        "if level.key > reach:\n                break",
        "if level.key > reach + 1:\n                break",
    ),
    "FOK counts own orders": (
        "book",
        "            if taker.conditions.self_trade is NONE:\n                _, shown",
        "            if True:\n                _, shown",
    ),
    "FOK passes by the own order that stops it": (
        "book",
        "                return slices, True\n",
        "                continue\n",
    ),
    "FOK counts all of an iceberg before the own order": (
        "book",
        "return slices, True",
        "return whole, True",
    ),
    "self-trade prevention after the fill": (
        "book",
        "if careful and maker.account == account:",
        "if careful and maker.account == account and price:",
    ),
    "self-trade prevention by the resting order": (
        "book",
        "if careful and maker.account == account:",
        "if maker.conditions.self_trade and maker.account == account:",
    ),
    "decrement takes the larger": (
        "book",
        "            left = quantity - maker.remaining\n",
        "            left = quantity - maker.remaining + maker.hidden\n",
    ),
    "cancel both leaves the taker": (
        "book",
        "        if mode is CANCEL_BOTH:\n            events.append(self.cancel(maker))\n",
        "        if mode is CANCEL_BOTH:\n            events.append(self.cancel(maker))\n"
        "            return quantity\n",
    ),
    "IOC rests": (
        "rules",
        "and tif is not IOC and tif is not FOK",
        "and tif is not FOK",
    ),
    "a market order ignores the band": (
        "book",
        "price = self.price_low if order.side else self.price_high",
        "price = 1 if order.side else self.market.price_max",
    ),
    "post-only may touch": (
        "gate",
        "best_key <= (-price if side else price)",
        "best_key < (-price if side else price)",
    ),
    "an order at the best price does not trade, fast lane": (
        "lane",
        "crosses = asks.best_key <= price",
        "crosses = asks.best_key < price",
    ),
    "an iceberg's next slice keeps its place": (
        "ladder",
        "            order.previous.next = order.next\n"
        "            order.next.previous = order.previous\n"
        "            level.append(order)\n",
        "",
    ),
    "an iceberg shows all after its first slice": (
        "ladder",
        "order.hidden = max(0, hidden - order.conditions.display)",
        "order.hidden = 0",
    ),
    "an iceberg shows more when reduced": (
        "book",
        "order.hidden = max(0, remaining - shown)",
        "order.hidden = min(order.hidden, remaining - 1)",
    ),
    "a replaced iceberg shows what it showed": (
        "book",
        "order.hidden = max(0, left - asked.display) if asked.display else 0",
        "order.hidden = min(left - 1, order.hidden) if asked.display else 0",
    ),
    "a reduce may grow an order": (
        "gate",
        "if reason is None and quantity >= order.remaining:",
        "if reason is None and quantity == order.remaining:",
    ),
    "a stop waits for more than its price": (
        "book",
        "buys.best_key <= last or",
        "buys.best_key < last or",
    ),
    "one wave of stops only": (
        "book",
        "while last and (buys.best_key",
        "if last and (buys.best_key",
    ),
    "stops are released newest first": (
        "book",
        "            for order in wave:\n                asked",
        "            for order in reversed(wave):\n                asked",
    ),
    "a released stop still waits": (
        "book",
        "            for order in wave:\n                self.remove(order)\n",
        "            for order in wave[:1]:\n                self.remove(order)\n",
    ),
    "a stop is released before the rest of its trigger is in the book": (
        "book",
        "            self.put(self.sides[order.side], order, order.price)\n        else:",
        "            self._trigger(events)\n"
        "            self.put(self.sides[order.side], order, order.price)\n        else:",
    ),
    "a released stop keeps its stop price": (
        "book",
        "type=released, stop_price=0",
        "type=released",
    ),
    "the last trade is forgotten": ("book", "            self.last = price\n", ""),
    "the band does not follow": (
        "book",
        "            if self.market.price_band_percent:",
        "            if not self.last:",
    ),
    "the band is one tick wider": (
        "rules",
        "min(market.price_max, reference + reach)",
        "min(market.price_max, reference + reach + 1)",
    ),
    "no band in the fast lane": (
        "lane",
        "not book.price_low <= price <= book.price_high",
        "not 1 <= price <= 140",
    ),
    "no halt in the fast lane": ("lane", "                or book.halted\n", ""),
    "no limit of the account in the fast lane": (
        "lane",
        "                or len(owner[1]) >= account_max\n",
        "",
    ),
    "no limit of the book in the fast lane": (
        "lane",
        "                or book.open >= orders_max\n",
        "",
    ),
    "one order too many": (
        "gate",
        "if book.open >= book.orders_max:",
        "if book.open > book.orders_max:",
    ),
    "no minimum in the fast lane": (
        "lane",
        "not quantity_min <= quantity <= quantity_max",
        "not 1 <= quantity <= quantity_max",
    ),
    "an id may be open twice": ("lane", "                or id in orders\n", ""),
    "a halted market replaces": (
        "gate",
        "    if book.halted:\n        return Reason.MARKET_HALTED\n    if command.quan",
        "    if command.quan",
    ),
    "anybody may replace": (
        "gate",
        "    if order.account != command.account:\n        return Reason.NOT_OWNER\n",
        "",
    ),
    "anybody may cancel": (
        "lane",
        "            if account != command.account:",
        "            if not account:",
    ),
    "expiry a millisecond late": (
        "exchange",
        "ledger.expiries[0][0] <= time_ms",
        "ledger.expiries[0][0] < time_ms",
    ),
    "a cancelled order expires": (
        "book",
        "            self.ledger.expiries.remove((order.conditions.expire_ms, id))",
        "            pass",
    ),
    "the clock goes back": ("exchange", "if time_ms > ledger.time_ms:", "if time_ms:"),
    "cancel all of both sides": (
        "exchange",
        "if command.side is None or order.side is command.side",
        "if True",
    ),
    "cancel all in any order": (
        "exchange",
        "sorted(found, key=lambda order: order.id)",
        "sorted(found, key=lambda order: -order.id)",
    ),
    "a change is not marked, fast lane": (
        "lane",
        "                level.ladder.touch(level)\n",
        "                pass\n",
    ),
    "a fill is not marked": (
        "ladder",
        "            level.append(order)\n        self.touch(level)",
        "            level.append(order)",
    ),
    "the digest takes the changes away": (
        "ladder",
        "            self.changed |= touched\n",
        "",
    ),
    "the changes take the digest's levels away": (
        "ladder",
        "            self.stale |= touched\n",
        "",
    ),
    "a closed level stays in the digest": (
        "state",
        "                del digests[start:end]\n                del keys[at : at + here]\n",
        "                pass\n",
    ),
    "the digest knows no hidden part": ("order", '    "hidden",\n', '    "remaining",\n'),
    "the digest knows no halt": (
        "state",
        "heads = [(book.halted, book.last",
        "heads = [(book.last, book.last",
    ),
    "the digest knows no last trade": (
        "state",
        "heads = [(book.halted, book.last",
        "heads = [(book.halted, 0",
    ),
    "the digest knows no clock": ("state", "(self.ledger.time_ms, heads, sizes)", "(heads, sizes)"),
    "the digest knows no queue": (
        "state",
        "[state_of(order) for order in level]",
        "sorted((state_of(order) for order in level), key=lambda row: row[0])",
    ),
    "a snapshot forgets the halt": (
        "state",
        "book.restore(saved.halted, saved.last)",
        "book.restore(False, saved.last)",
    ),
    "a snapshot forgets the last trade": (
        "state",
        "book.restore(saved.halted, saved.last)",
        "book.restore(saved.halted, 0)",
    ),
    "a snapshot turns queues round": (
        "state",
        "            for kept in rows:",
        "            for kept in reversed(rows):",
    ),
}


def mutant(name: str, module: str, old: str, new: str, directory: Path) -> ModuleType:
    """A copy of the engine with one bug; it shares the vocabulary."""
    package = directory / name
    package.mkdir()
    (package / "__init__.py").touch()
    for path in SOURCE.glob("*.py"):
        text = path.read_text()
        if path.stem == module:
            assert text.count(old) == 1, f"{text.count(old)} times: {old}"
            text = text.replace(old, new)
        if path.stem not in ("__init__", "orders"):
            text = re.sub(r"\bengine\b(?!\.orders\b)", name, text)
            (package / path.name).write_text(text)
    return importlib.import_module(f"{name}.exchange")


@pytest.fixture
def nest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mutant"):
            del sys.modules[name]


def hunt(exchange_class: type[Exchange]) -> None:
    """Raises when something is wrong with `exchange_class`."""
    for path in scripts:
        assert play(path.read_text(), exchange_class) == path.read_text()
    for one, other in DIFFERENT.values():
        states = [after(*commands, exchange_class=exchange_class) for commands in (one, other)]
        assert states[0].digest() != states[1].digest()
    for seed in range(SEEDS):
        draw = random.Random(seed)
        flow = Flow(draw.choice)
        trio = Trio(exchange_class)
        shown: dict[tuple[str, Side, int], tuple[int, int]] = {}
        for step in range(STEPS):
            trio.step(flow.step())
            trio.compare()
            if step % 8 == 0:
                hunt_state(trio.exchange, exchange_class, shown)


def hunt_state(
    exchange: Exchange,
    exchange_class: type[Exchange],
    shown: dict[tuple[str, Side, int], tuple[int, int]],
) -> None:
    digest = exchange.digest()
    restored = exchange_class.restore(exchange.snapshot())
    restored.check()
    assert restored.digest() == digest
    for market in MARKETS:
        symbol = market.symbol
        for side, price, quantity, orders in exchange.changes(symbol):
            shown[symbol, side, price] = (quantity, orders)
        for side in Side:
            assert queue_of(restored, symbol, side) == queue_of(exchange, symbol, side)
            seen = {(p, *level) for (m, s, p), level in shown.items() if (m, s) == (symbol, side)}
            levels = exchange.depth(symbol, side, 1000)
            assert {row for row in seen if row[1]} == set(levels)


def test_the_copy_without_a_bug_is_right(nest: Path) -> None:
    """Or else the copying would be what is noticed below."""
    copy = mutant("mutant", "rules", "class MarketError", "class MarketError", nest)
    hunt(copy.Exchange)


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_noticed(bug: str, nest: Path) -> None:
    name = "mutant_" + re.sub(r"\W", "_", bug)
    changed = mutant(name, *BUGS[bug], nest)
    with pytest.raises(Exception):  # noqa: B017, PT011 any failure is a catch
        hunt(changed.Exchange)
