"""Decimal text on the outside, whole ticks and lots on the inside.

Owns the conversion between the two. Must never touch a float: an amount is an `int`, a `Decimal` or
its text from the first byte to the last.
"""

import re
from decimal import Context, Decimal

import msgspec

from engine import Market

# On either side of the point: more is a typing error, and an exponent could ask for gigabytes.
DIGITS_MAX = 30
_EXACT = Context(prec=4 * DIGITS_MAX)
AMOUNT_PATTERN = r"^([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})$"
_TEXT = re.compile(AMOUNT_PATTERN)


class AmountError(ValueError):
    """Not an amount the market can take; the text says what is wrong and what would be right."""


def parse_amount(value: object) -> Decimal:
    """The amount `value` means, zero or more: an int, a Decimal or text such as "100.50"."""
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
    """A market's tick or lot: the amount that 1 stands for inside."""

    def __init__(self, text: str) -> None:
        self.size = Decimal(text)
        _, digits, exponent = self.size.as_tuple()
        assert isinstance(exponent, int)
        assert self.size > 0, f"a step is more than zero, not {text!r}"
        self.places = max(0, -exponent)
        self._units = int("".join(map(str, digits))) * 10 ** max(0, exponent)
        self._scale: int = 10**self.places

    def count(self, amount: Decimal) -> int:
        """How many steps `amount` is; AmountError unless it is a whole number of them."""
        steps, rest = _EXACT.divmod(amount, self.size)
        if rest:
            raise AmountError(f"must be a multiple of {self.size:f}, not {amount:f}")
        return int(steps)

    def text(self, count: int) -> str:
        """The amount of `count` steps, always with the same number of decimal places."""
        whole, part = divmod(count * self._units, self._scale)
        return f"{whole}.{part:0{self.places}}" if self.places else str(whole)

    def amount(self, count: int) -> Decimal:
        """As `text`; none at all is a plain 0, which would print as 0E-8 otherwise."""
        return Decimal(self.text(count) if count else 0)


class Units(msgspec.Struct, frozen=True):
    """A market with its two steps."""

    market: Market
    price: Step
    quantity: Step


def units_of(market: Market) -> Units:
    return Units(market, Step(market.tick), Step(market.lot))
