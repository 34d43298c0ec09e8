"""Bugs seeded on purpose: the suite has to notice every one.

Each is a change of the engine's source text, made in a copy of the package. `hunt` is what the
other tests do, in short: the scripts, then random commands against the naive book and the event
reader, invariants, level changes, pieces and digests.
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
from engine import Exchange, Side
from tests.engine.test_differential import Trio, queue_of
from tests.engine.test_levels import run_crowd
from tests.engine.test_scripts import scripts
from tests.engine.test_state import DIFFERENT
from tests.support.engine_flow import MARKETS, Flow
from tests.support.engine_script import play
from tests.support.engine_states import after

SOURCE = Path(engine.__file__).parent
SEEDS = 40
STEPS = 120

# What is wrong: the module, the text as it is, the text as it is not to be.
BUGS = {
    "a cancelled order keeps its links, fast path": (
        "fast_path",
        "            found.previous = found.next = found.older = found.newer = None\n",
        "",
    ),
    "an order that leaves keeps its links": (
        "book",
        "        order.previous = order.next = order.older = order.newer = None\n",
        "        order.newer = order.next = None\n",
    ),
    "LIFO queue, fast path": (
        "fast_path",
        "            level.last = order\n",
        "            if back is not None:\n"
        "                back.next = order.previous = None\n"
        "                order.next = level.first\n"
        "                level.first.previous = level.first = order\n"
        "                continue\n"
        "            level.last = order\n",
    ),
    "LIFO queue": (
        "book",
        "        order.previous = back = level.last\n"
        "        id: int = order.id\n"
        "        order.priority = id\n"
        "        if back is None:\n"
        "            level.first = order\n"
        "        else:\n"
        "            back.next = order\n"
        "            ahead = back.priority\n"
        "            if ahead <= level.counted:\n"
        "                book_side.grows(level)\n"
        "            if ahead >= id:\n"
        "                order.priority = ahead + 1\n"
        "        level.last = order\n",
        "        order.previous = None\n"
        "        order.next = front = level.first\n"
        "        if front is None:\n"
        "            level.last = order\n"
        "        else:\n"
        "            front.previous = order\n"
        "        level.first = order\n",
    ),
    "a larger quantity keeps its place": (
        "matching",
        "    book.remove(order)\n    order.price = price",
        "    if price == order.price and quantity > order.remaining and not order.hidden:\n"
        "        order.quantity = order.remaining = quantity\n"
        "        order.level.book_side.grows(order.level)\n"
        "        return [Replaced(order.id, order.owner.name, book.symbol, order.side, price,"
        " quantity)]\n"
        "    book.remove(order)\n    order.price = price",
    ),
    "a partial fill loses its place": (
        "book_side",
        "        if left != hidden:\n",
        "        if left != hidden and hidden:\n",
    ),
    "stale best after a level closes": (
        "book_side",
        "            self.best = self.levels[self.best_key * self.sign]",
        "            pass",
    ),
    "stale best key after a level closes": (
        "book_side",
        "            self.best_key = self.keys.best()\n"
        "            self.best = self.levels[self.best_key * self.sign]",
        "            self.best = self.levels[self.keys.best() * self.sign]",
    ),
    "stale best key of an empty book_side": (
        "book_side",
        "            self.best_key = NO_KEY\n",
        "",
    ),
    "a better level is not the best": ("book_side", "if key < self.best_key:", "if not self.best:"),
    "cancel in mid-queue breaks the list, fast path": (
        "fast_path",
        "                after.previous = before\n",
        "                pass\n",
    ),
    "cancel in mid-queue breaks the list": (
        "book",
        "            after.previous = before\n",
        "            pass\n",
    ),
    "an account's orders lose one in the middle, fast path": (
        "fast_path",
        "                newer.older = older\n",
        "                newer.older = None\n",
    ),
    "a cancelled order stays in the index, fast path": (
        "fast_path",
        "            del orders[id]\n",
        "",
    ),
    "an account keeps what it cancelled": (
        "book",
        "            newer.older = older\n",
        "            pass\n",
    ),
    "the price of the taker": (
        "matching",
        "        price = level.price\n",
        "        price = taker.price or level.price\n",
    ),
    "FOK counts what is shown only": (
        "matching",
        "quantity -= level.shown + level.hidden",
        "quantity -= level.shown",
    ),
    "FOK counts what is hidden twice": (
        "matching",
        "quantity -= level.shown + level.hidden",
        "quantity -= level.shown + 2 * level.hidden",
    ),
    "FOK looks beyond its limit": (
        "matching",
        "if level.key > reach:\n            break",
        "if level.key > reach + 1:\n            break",
    ),
    "FOK counts own orders": (
        "matching",
        "        if taker.terms.self_trade is NONE:\n            quantity",
        "        if True:\n            quantity",
    ),
    "FOK passes by the own order that stops it": (
        "matching",
        "            return slices, True\n",
        "            continue\n",
    ),
    "FOK counts all of an iceberg before the own order": (
        "matching",
        "return slices, True",
        "return whole, True",
    ),
    "self-trade prevention after the fill": (
        "matching",
        "if careful and maker.owner is owner:",
        "if careful and maker.owner is owner and price:",
    ),
    "self-trade prevention by the resting order": (
        "matching",
        "if careful and maker.owner is owner:",
        "if maker.terms.self_trade and maker.owner is owner:",
    ),
    "decrement takes the larger": (
        "matching",
        "        left = quantity - maker.remaining\n",
        "        left = quantity - maker.remaining + maker.hidden\n",
    ),
    "cancel both leaves the taker": (
        "matching",
        "    if mode is CANCEL_BOTH:\n        events.append(book.cancel(maker))\n",
        "    if mode is CANCEL_BOTH:\n        events.append(book.cancel(maker))\n"
        "        return quantity\n",
    ),
    "IOC rests": (
        "validation",
        "and tif is not IOC and tif is not FOK",
        "and tif is not FOK",
    ),
    "a market order ignores the band": (
        "matching",
        "price = book.price_low if order.side else book.price_high",
        "price = 1 if order.side else book.market.price_max",
    ),
    "post-only may touch": (
        "pre_trade_checks",
        "best_key <= (-price if side else price)",
        "best_key < (-price if side else price)",
    ),
    "an order at the best price does not trade, fast path": (
        "fast_path",
        "crosses = asks.best_key <= ticks",
        "crosses = asks.best_key < ticks",
    ),
    "an iceberg's next slice keeps its place": (
        "book_side",
        "        level.to_back(order)\n",
        "",
    ),
    "an iceberg's next slice cuts the queue off": (
        "book_side",
        "        self.last = order\n",
        "",
    ),
    "an iceberg shows all after its first slice": (
        "book_side",
        "order.hidden = max(0, hidden - order.terms.display)",
        "order.hidden = 0",
    ),
    "an iceberg shows more when reduced": (
        "book",
        "hidden = max(0, remaining - shown)",
        "hidden = min(order.hidden, remaining - 1)",
    ),
    "a replaced iceberg shows what it showed": (
        "matching",
        "order.hidden = max(0, left - asked.display) if asked.display else 0",
        "order.hidden = min(left - 1, order.hidden) if asked.display else 0",
    ),
    "a reduce may grow an order": (
        "pre_trade_checks",
        "if reason is None and quantity >= order.remaining:",
        "if reason is None and quantity == order.remaining:",
    ),
    "a stop waits for more than its price": (
        "matching",
        "buys.best_key <= last or",
        "buys.best_key < last or",
    ),
    "one wave of stops only": (
        "matching",
        "while last and (buys.best_key",
        "if last and (buys.best_key",
    ),
    "stops are released newest first": (
        "matching",
        "        for order in wave:\n            asked",
        "        for order in reversed(wave):\n            asked",
    ),
    "a released stop still waits": (
        "matching",
        "        for order in wave:\n            book.remove(order)\n",
        "        for order in wave[:1]:\n            book.remove(order)\n",
    ),
    "a stop is released before the rest of its trigger is in the book": (
        "matching",
        "        book.rest(order)\n    else:",
        "        _trigger(book, events)\n        book.rest(order)\n    else:",
    ),
    "a released stop keeps its stop price": (
        "matching",
        "type=released, stop_price=0",
        "type=released",
    ),
    "the last trade is forgotten": ("book", "        self.last = price\n", ""),
    "the band does not follow": (
        "book",
        "        if self.market.price_band_percent:",
        "        if not self.last:",
    ),
    "the band is one tick wider": (
        "validation",
        "min(market.price_max, reference + reach)",
        "min(market.price_max, reference + reach + 1)",
    ),
    "no band in the fast path": (
        "fast_path",
        "or ticks > book.fast_high",
        "or ticks > 140",
    ),
    "no halt in the fast path": ("book", "0 if self.halted else min", "min"),
    "the fast path is not told of a halt": (
        "book",
        "        self.halted = halted\n        self._set_fast_range()\n",
        "        self.halted = halted\n",
    ),
    "the fast path is not told of a new band": (
        "book",
        "validation.band(price, self.market)\n            self._set_fast_range()\n",
        "validation.band(price, self.market)\n",
    ),
    "the fast path is not told what is restored": (
        "book",
        "        self.set_halted(status is not MarketStatus.OPEN)\n",
        "        self.halted = status is not MarketStatus.OPEN\n",
    ),
    "no limit of the account in the fast path": (
        "fast_path",
        "                or owner.open >= account_max\n",
        "",
    ),
    "no limit of the book in the fast path": (
        "fast_path",
        "                or book.open >= orders_max\n",
        "",
    ),
    "one order too many": (
        "pre_trade_checks",
        "if book.open >= book.orders_max:",
        "if book.open > book.orders_max:",
    ),
    "no minimum in the fast path": (
        "fast_path",
        "or lots < quantity_min",
        "or lots < 1",
    ),
    "an id may be open twice": ("fast_path", "                or id in own\n", ""),
    "an order is kept where others are looked for, fast path": (
        "fast_path",
        "            if number < start or number >= end:",
        "            if number < start:",
    ),
    "a halted market replaces": (
        "pre_trade_checks",
        "    if book.halted:\n        return Reason.MARKET_HALTED\n    if command.quan",
        "    if command.quan",
    ),
    "anybody may replace": (
        "pre_trade_checks",
        "    if order.owner.name != command.account:\n        return Reason.NOT_OWNER\n",
        "",
    ),
    "anybody may cancel": (
        "fast_path",
        "            if owner.name != command.account:",
        "            if not owner.name:",
    ),
    "expiry a millisecond late": (
        "exchange",
        "ledger.expiries[0][0] <= time_ms",
        "ledger.expiries[0][0] < time_ms",
    ),
    "a cancelled order expires": (
        "book",
        "            self.ledger.expiries.remove((order.terms.expire_ms, order.id))",
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
    "an arrival is not marked, fast path": (
        "fast_path",
        "                book_side.grows(level)\n",
        "                pass\n",
    ),
    "an arrival is not marked": (
        "book",
        "            book_side.grows(level)\n",
        "            pass\n",
    ),
    "a total is not changed by a cancel, fast path": (
        "fast_path",
        "                level.book_side.leaves(level, found)\n",
        "                pass\n",
    ),
    "a total is not changed by an order that leaves": (
        "book",
        "        level.book_side.leaves(level, order)\n",
        "",
    ),
    "a total is not changed by a partial fill": (
        "book_side",
        "            self.changes(level, order, -quantity, 0)\n",
        "",
    ),
    "a total is not changed by a slice that is used up": (
        "book_side",
        "        self.leaves(level, order)\n        order.remaining = left\n",
        "        order.remaining = left\n",
    ),
    "a total is not changed by a reduce": (
        "book",
        "            level.book_side.changes(level, order, more, hidden - order.hidden)\n",
        "            level.book_side.changes(level, order, 0, 0)\n",
    ),
    "an arrival is counted twice": (
        "book_side",
        "        if order.priority == level.counted:\n",
        "        if False:\n",
    ),
    "a share is not changed by a partial fill": (
        "book_side",
        "        level.share(order.id, shown, 0)\n",
        "",
    ),
    "a share is not changed by an order that leaves": (
        "book_side",
        "            level.share(order.id, -shown, -1)\n",
        "            pass\n",
    ),
    "a share is not changed by an arrival": (
        "book_side",
        "                self.share(order.id, shown, 1)\n",
        "                pass\n",
    ),
    "a total is shown as it was": (
        "book_side",
        "            self.changed |= touched\n",
        "",
    ),
    "an iceberg is refreshed without a new priority": (
        "book_side",
        "        order.priority = back.priority + 1  # type: ignore[union-attr]\n",
        "",
    ),
    "a priority is that of the order in front": (
        "book",
        "                order.priority = ahead + 1\n",
        "                order.priority = ahead\n",
    ),
    "a priority is that of the order in front, fast path": (
        "fast_path",
        "                    order.priority = ahead + 1\n",
        "                    order.priority = ahead\n",
    ),
    "a digest is kept after an arrival": (
        "book_side",
        "                stale.add(order.id)\n",
        "                pass\n",
    ),
    "a digest is kept after a change": (
        "book_side",
        "            self.stale.add(order.id)\n",
        "            pass\n",
    ),
    "a digest is kept after the last order of a piece left": (
        "pieces",
        '                leaves[key] = b""\n',
        "",
    ),
    "a piece keeps an order that left": (
        "rows",
        "        old, row_end = 2, numbers[count + at]\n",
        "        old, row_end = 2, 0\n",
    ),
    "a piece keeps one of many orders that left": (
        "rows",
        "            rest += lengths[at]\n",
        "            pass\n",
    ),
    "an order is in the piece of other members": (
        "rows",
        "(id >> _GROUP_SHIFT & _GROUP_LAST) << _GROUP_AT",
        "0",
    ),
    "the digest knows no hidden part": (
        "rows",
        "        order.hidden,\n        order.priority",
        "        order.remaining,\n        order.priority",
    ),
    "the digest knows no halt": ("pieces", "(book.status, book.last)", "(0, book.last)"),
    "the digest knows no last trade": ("pieces", "(book.status, book.last)", "(book.status, 0)"),
    "the digest knows no clock": (
        "pieces",
        "self.ledger.time_ms, self._heads()",
        "0, self._heads()",
    ),
    "the digest knows no queue": (
        "rows",
        "        order.priority - order.id,\n",
        "        0,\n",
    ),
    "a frozen piece shows a later change": (
        "pieces",
        "not one.keep(key, before)",
        "False",
    ),
    "orders that changed are forgotten before their rows are read": (
        "pieces",
        "        for id in sorted(self.stale):\n",
        "        for id in sorted(self.stale)[:3]:\n",
    ),
    "a frozen piece shows the last but one change": (
        "pieces",
        "        if key in self._before:\n            return False\n",
        "",
    ),
    "restoring forgets the halt": (
        "restore",
        "book.restore(saved.status, saved.last)",
        "book.restore(MarketStatus.OPEN, saved.last)",
    ),
    "restoring forgets the last trade": (
        "restore",
        "book.restore(saved.status, saved.last)",
        "book.restore(saved.status, 0)",
    ),
    "restoring puts queues in the order of ids": (
        "restore",
        "    queue = sorted(level, key=lambda order: order.priority)\n",
        "    queue = list(level)\n",
    ),
    "restoring leaves the shares of a long queue out": (
        "restore",
        "                found.large.append(level)\n",
        "                pass\n",
    ),
    "restoring adds up what is shown as hidden": (
        "restore",
        "            level.shown += left - hidden\n",
        "            level.shown += left\n",
    ),
    "restoring forgets expiries": (
        "restore",
        "    ledger.expiries.update(",
        "    list(",
    ),
}


def mutant(name: str, module: str, old: str, new: str, directory: Path) -> ModuleType:
    """A copy of the engine with one bug; it shares the vocabulary."""
    package = directory / name
    package.mkdir()
    (package / "__init__.py").touch()
    for path in SOURCE.rglob("*.py"):
        text, place = path.read_text(), package / path.relative_to(SOURCE)
        if path.stem == module:
            assert text.count(old) == 1, f"{text.count(old)} times: {old}"
            text = text.replace(old, new)
        if place != package / "__init__.py" and path.stem != "vocabulary":
            place.parent.mkdir(exist_ok=True)
            place.write_text(re.sub(r"\bengine\b(?!\.vocabulary\b)", name, text))
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
    for seed in range(2):
        run_crowd(exchange_class, seed)
    for seed in range(SEEDS):
        draw = random.Random(seed)
        flow = Flow(draw.choice)
        trio = Trio(exchange_class)
        shown: dict[tuple[str, Side, int], tuple[int, int]] = {}
        pieces, frozen = dict(trio.exchange.pieces()), trio.exchange.freeze()
        for step in range(STEPS):
            trio.step(flow.step())
            trio.compare()
            if step % 8 == 0:
                hunt_state(trio.exchange, exchange_class, shown)
                assert all(frozen.piece(key) == piece for key, piece in pieces.items())
            if step % 24 == 23:
                pieces = dict(trio.exchange.pieces())
                frozen = trio.exchange.freeze()
        trio.exchange = exchange_class.restore(trio.exchange.pieces())
        for _ in range(STEPS // 4):
            trio.step(flow.step())


def hunt_state(
    exchange: Exchange,
    exchange_class: type[Exchange],
    shown: dict[tuple[str, Side, int], tuple[int, int]],
) -> None:
    digest = exchange.digest()
    restored = exchange_class.restore(exchange.pieces())
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
    copy = mutant("mutant", "validation", "class MarketError", "class MarketError", nest)
    hunt(copy.Exchange)


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_noticed(bug: str, nest: Path) -> None:
    name = "mutant_" + re.sub(r"\W", "_", bug)
    changed = mutant(name, *BUGS[bug], nest)
    with pytest.raises(Exception):  # noqa: B017, PT011 any failure is a catch
        hunt(changed.Exchange)
