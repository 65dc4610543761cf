"""How the report writes numbers and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.hints import plural as plural

DASH, MINUS = "\u2013", "\u2212"  # no value; a true minus sign
MOST_DIGITS = 6  # after the point
# Beyond these, three significant digits and a power of ten: 1.25e-11. A float64 does not hold every
# digit of a larger number, and a smaller one would be shown as zero.
LARGE, SMALL = 1e15, 1e-5
MOST_PROMPTS = 100_000  # a larger estimate is written as "over 100,000"


def decimals(values: Sequence[float], widths: Sequence[float]) -> int:
    """Digits after the point for values with intervals of these widths.

    Two significant digits of the narrowest interval's half, at most one more than the widest needs.
    Without intervals: two significant digits of the smallest value.
    """
    halves = [width / 2 for width in widths if width / 2 > 0 and math.isfinite(width)]
    if halves:
        narrow, wide = (
            max(0, 1 - math.floor(math.log10(half))) for half in (min(halves), max(halves))
        )
        return min(MOST_DIGITS, narrow, wide + 1)
    smallest = min((abs(value) for value in values if value and math.isfinite(value)), default=0.0)
    return min(MOST_DIGITS, max(0, 1 - math.floor(math.log10(smallest)))) if smallest else 2


def number(value: float | None, digits: int) -> str:
    """A number with a true minus sign and thousands separators, or as 1.25e300; a dash for None."""
    if value is None or not math.isfinite(value):
        return DASH
    if abs(value) >= LARGE or (digits >= MOST_DIGITS and 0 < abs(value) < SMALL):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else f"{0:.{digits}f}"


def three_digits(value: float) -> str:
    """A number with three significant digits, for values of different magnitudes."""
    size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return number(value, min(6, max(0, 2 - size)))


def signed(value: float, digits: int) -> str:
    """A number with its sign, plus included."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text != number(0, digits) else text


def interval(low: float | None, high: float | None, digits: int) -> str:
    """`low to high`; "" if there is no interval."""
    if low is None or high is None:
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def interval_without_zero(low: float, high: float, digits: int) -> str:
    """An interval that excludes zero. Its inner end is never rounded to zero."""
    ends = (
        number(end, digits)
        if end == 0 or number(end, digits) != number(0, digits)
        else f"{end:.1g}".replace("-", MINUS)
        for end in (low, high)
    )
    return " to ".join(ends)


def p_value(p: float | None) -> str:
    """A p-value in three digits; a dash for None."""
    if p is None:
        return DASH
    if 0.05 < p < 0.0505:  # not significant, and 0.050 would look as if it were
        return "> 0.05"
    return "< 0.001" if p < 0.001 else "1" if p > 0.9995 else f"{p:.3f}"


def estimate(count: int) -> str:
    """A count that is only roughly known, rounded up to two digits."""
    if count > MOST_PROMPTS:
        return f"over {MOST_PROMPTS:,}"
    step = 10 ** max(0, math.floor(math.log10(max(1, count))) - 1)
    return f"about {math.ceil(count / step) * step:,}"


def counts(values: Sequence[int]) -> str:
    """n = 71; n = 60 to 600."""
    low, high = min(values), max(values)
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


def listing(names: Sequence[str], most: int = 0) -> str:
    """a; a and b; a, b and c. Of more than `most` names (0: no limit): a, b and 7 more."""
    if 0 < most < len(names) - 1:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
