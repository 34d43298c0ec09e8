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
from tests.support.state_bugs import STATE_BUGS
from tests.support.trading_bugs import TRADING_BUGS

SOURCE = Path(engine.__file__).parent
SEEDS = 40
STEPS = 120

BUGS = TRADING_BUGS | STATE_BUGS


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
