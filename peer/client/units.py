"""Conversion between decimal amounts outside and whole ticks and lots inside.

Owns the conversion. Must never use a float: an amount is an `int`, a `Decimal` or text.
"""

import re
from decimal import Context, Decimal

import msgspec

from engine import Market

# On each side of the point: more is a typing error, and a large exponent could take gigabytes.
DIGITS_MAX = 30
_EXACT = Context(prec=4 * DIGITS_MAX)
AMOUNT_PATTERN = r"^([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})$"
_TEXT = re.compile(AMOUNT_PATTERN)


class AmountError(ValueError):
    """An amount that the market cannot take; the text says what it must be."""


def parse_amount(value: object) -> Decimal:
    """The amount in an int, a Decimal or text such as "100.50"; zero or more. AmountError."""
    if isinstance(value, float):
        raise AmountError(f"must be exact: an int, a Decimal or text, not the float {value!r}")
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise AmountError("must be a number or its text, such as 100.5")
    if isinstance(value, str):
        if not _TEXT.fullmatch(value.strip()):
            raise AmountError(f"must be a plain number such as 100.5, not {value!r:.40}")
        return Decimal(value.strip())
    amount = Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise AmountError("must be zero or more")
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -DIGITS_MAX or amount.adjusted() >= DIGITS_MAX:
        raise AmountError(f"must have at most {DIGITS_MAX} digits on either side of the point")
    return amount


class Step:
    """A market's tick or lot: the amount of one unit inside."""

    def __init__(self, text: str) -> None:
        self.size = Decimal(text)
        _, digits, exponent = self.size.as_tuple()
        assert isinstance(exponent, int)
        assert self.size > 0, f"a step is more than zero, not {text!r}"
        self.places = max(0, -exponent)
        self._units = int("".join(map(str, digits))) * 10 ** max(0, exponent)
        self._scale: int = 10**self.places

    def count(self, amount: Decimal) -> int:
        """The number of steps in `amount`; AmountError unless it is a whole number."""
        steps, rest = _EXACT.divmod(amount, self.size)
        if rest:
            raise AmountError(f"must be a multiple of {self.size:f}, not {amount:f}")
        return int(steps)

    def text(self, count: int) -> str:
        """The amount of `count` steps, always with the same number of decimal places."""
        whole, part = divmod(count * self._units, self._scale)
        return f"{whole}.{part:0{self.places}}" if self.places else str(whole)

    def amount(self, count: int) -> Decimal:
        """As `text`, as a Decimal. Zero is a plain 0, which otherwise prints as 0E-8."""
        return Decimal(self.text(count) if count else 0)


class Units(msgspec.Struct, frozen=True):
    """A market with its tick and lot."""

    market: Market
    price: Step
    quantity: Step


def units_of(market: Market) -> Units:
    return Units(market, Step(market.tick), Step(market.lot))


# The limits of a market that are amounts, and which of its units they are in.
LIMIT_AMOUNTS = {"quantity_min": "quantity", "quantity_max": "quantity", "price_max": "price"}


def limit_step(units: Units, name: str) -> Step:
    """The step in which a limit that is an amount is counted."""
    return units.price if LIMIT_AMOUNTS[name] == "price" else units.quantity
