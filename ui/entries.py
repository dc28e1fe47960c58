"""Numbers as people type them, and as people read them.

What is typed is parsed strictly and exactly: `9.6e9` is the whole number 9,600,000,000 and
`1.1e-10` is kept as a fraction until somebody needs a float. What is read is rounded in a stated
direction, because an epsilon that was rounded down claims too much.
"""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

__all__ = [
    "EntryError",
    "escaped",
    "grouped",
    "parse_number",
    "percent",
    "percent_up",
    "rounded",
    "rounded_down",
    "rounded_up",
]

LONGEST = 40  # characters; no quantity of a training run needs more

_MARKDOWN = frozenset(r"\`*_{}[]()#+-.!|<>~$:&")

_PLAIN = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
_NUMBER = re.compile(rf"([+-]?)({_PLAIN})(?:/({_PLAIN}))?", re.ASCII)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", re.ASCII)


class EntryError(ValueError):
    """What was typed is not a number; the message is one sentence for the person who typed it."""


def parse_number(text: str) -> Fraction:
    """Read a number exactly, or say in one sentence why it is none.

    Accepted are decimals (`0.614`), scientific notation (`1.1e-10`, `9.6e9`), thousands
    separators in their places (`517,989`, `517_989`, `517 989`) and fractions (`1/60000`).

    Raises
    ------
    EntryError
        For anything else, decimal commas, infinities and percentages among them.
    """
    typed = text.strip()
    if not typed:
        raise EntryError("Enter a number, such as 0.614, 517,989 or 1.1e-10.")
    if len(typed) > LONGEST:
        raise EntryError(f"Enter a number of at most {LONGEST} characters.")
    plain = re.sub(r"(?<=\d)[_\u0020\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", typed)
    plain = plain.replace("\u2212", "-")  # a minus sign pasted from a paper
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    elif "," in plain:
        raise EntryError(f"“{typed}” is not a number: write decimals with a point, as in 0.614.")
    match = _NUMBER.fullmatch(plain)
    if not match:
        raise EntryError(f"“{typed}” is not a number: write 0.614, 517,989, 1.1e-10 or 1/60000.")
    sign, numerator, denominator = match.groups()
    if denominator is not None and not Fraction(denominator):
        raise EntryError(f"“{typed}” divides by zero.")
    try:
        value = Fraction(Fraction(numerator), Fraction(denominator or 1))
        value = Fraction(-value) if sign == "-" else value
        float(value)
    except OverflowError:
        raise EntryError(f"“{typed}” is too large.") from None
    return value


def _rounded(value: float, digits: int, rounding: str) -> str:
    exact = Decimal(value)
    if not exact.is_finite():
        return "∞" if exact > 0 else "−∞"
    if not exact:
        return "0"
    short = Context(prec=digits, rounding=rounding, Emin=-999_999, Emax=999_999).plus(exact)
    magnitude = short.adjusted()
    if -4 <= magnitude < max(digits, 7):
        return f"{short:,f}"
    mantissa, _, exponent = f"{short:e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def rounded_up(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, never below its value."""
    return _rounded(value, digits, ROUND_CEILING)


def rounded_down(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, never above its value."""
    return _rounded(value, digits, ROUND_FLOOR)


def rounded(value: float, digits: int = 3) -> str:
    """Write a number that is no promise with so many significant digits, trailing zeros dropped."""
    text = _rounded(value, digits, ROUND_HALF_EVEN)
    mantissa, mark, exponent = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}{mark}{exponent}"


def grouped(value: int) -> str:
    """Write a whole number with thousands separators."""
    return f"{value:,}"


def percent_up(value: float, digits: int = 2) -> str:
    """Write a share as a percentage with so many significant digits, never below its value."""
    exact = min(Decimal(value), Decimal(1))
    short = Context(prec=digits, rounding=ROUND_CEILING).plus(exact.scaleb(2))
    return f"{short.normalize():,f} %"


def percent(share: float) -> str:
    """Write a share that somebody chose as a percentage, exactly: 0.01 is 1 %."""
    return f"{Decimal(repr(share)).scaleb(2).normalize():f} %"


def escaped(text: str) -> str:
    """Write text that somebody typed so that Markdown shows it as it is."""
    return "".join(f"\\{character}" if character in _MARKDOWN else character for character in text)
