"""The figures of a run: collected by round, told as one table, as JSON and as a plot.

Owns what is known of each figure, and the ratios that are made of them. A ratio is of two figures
of the same round, so what the machine did meanwhile met both. Must never measure.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from rich.table import Table

RATIOS = "ratios, of figures of the same round"


class Figure(NamedTuple):
    section: str
    what: str
    unit: str


class Ratio(NamedTuple):
    what: str
    over: Figure
    under: Figure


class Story:
    """All values of each figure, in the order in which figures first came."""

    def __init__(self, ratios: Iterable[Ratio] = ()) -> None:
        self._ratios = list(ratios)
        self._rounds: list[dict[Figure, float]] = []
        self.values: dict[Figure, list[float]] = {}
        self.left_out: dict[str, str] = {}  # a part, and why it has no figures
        self.failed: dict[str, str] = {}

    def begin_round(self) -> int:
        """Its number, from 1."""
        self._rounds.append({})
        return len(self._rounds)

    def add(self, figure: Figure, value: float) -> None:
        self._rounds[-1][figure] = value
        self.values.setdefault(figure, []).append(value)

    def sections(self) -> dict[str, dict[Figure, list[float]]]:
        """The figures by section, ratios first."""
        found: dict[str, dict[Figure, list[float]]] = {}
        for ratio in self._ratios:
            values = [
                done[ratio.over] / done[ratio.under]
                for done in self._rounds
                if ratio.over in done and done.get(ratio.under)
            ]
            if values:
                figure = Figure(RATIOS, ratio.what, "x")
                found.setdefault(RATIOS, {})[figure] = values
        for figure, values in self.values.items():
            found.setdefault(figure.section, {})[figure] = values
        return found

    def table(self, title: str) -> Table:
        shown = Table("", "median", "least to most", "", title=title, title_justify="left")
        for column in shown.columns[1:3]:
            column.justify = "right"
        for section, figures in self.sections().items():
            shown.add_section()
            shown.add_row(f"[bold]{section}")
            for figure, values in figures.items():
                middle, least, most = map(number, (statistics.median(values), *spread(values)))
                shown.add_row(f"  {figure.what}", middle, f"{least} to {most}", figure.unit)
        for told, parts in (("left out", self.left_out), ("failed", self.failed)):
            for part, reason in parts.items():
                shown.add_section()
                shown.add_row(f"{told}: {part}: {reason}")
        return shown

    def as_json(self, about: Mapping[str, object]) -> str:
        """Every value of every round, and the medians."""
        figures = [
            figure._asdict() | {"median": statistics.median(values), "values": values}
            for each in self.sections().values()
            for figure, values in each.items()
        ]
        told = {"figures": figures, "left_out": self.left_out, "failed": self.failed}
        return json.dumps({**about, **told}, indent=1)


def spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


BAR_HEIGHT, NAME_WIDTH, BAR_WIDTH, VALUE_WIDTH = 22, 420, 320, 130


def plot(title: str, figures: Mapping[Figure, list[float]]) -> str:
    """An SVG of bars, one a figure, all of one unit: the median, and a line from the least to the
    most."""
    longest = max(max(values) for values in figures.values()) or 1.0
    width, height = NAME_WIDTH + BAR_WIDTH + VALUE_WIDTH, BAR_HEIGHT * (len(figures) + 1) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13" fill="#777">',
        f'<text x="0" y="16" font-weight="bold">{escape(title)}</text>',
    ]
    for row, (figure, values) in enumerate(figures.items(), 1):
        top, middle = row * BAR_HEIGHT + 8, statistics.median(values)
        x, least, most = (
            NAME_WIDTH + BAR_WIDTH * value / longest for value in (middle, *spread(values))
        )
        line = top + BAR_HEIGHT / 2 - 3
        parts += [
            f'<text x="0" y="{top + 13}">{escape(figure.what)}</text>',
            f'<rect x="{NAME_WIDTH}" y="{top}" width="{x - NAME_WIDTH:.1f}" height="16"'
            ' fill="#4a90d9"/>',
            f'<path d="M{least:.1f} {line}H{most:.1f}" stroke="#999" stroke-width="2"/>',
            f'<text x="{most + 8:.1f}" y="{top + 13}">{number(middle)} {figure.unit}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
