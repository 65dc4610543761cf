"""How numbers are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.report import numbers
from evalkit.report.numbers import DASH, MINUS


@pytest.mark.parametrize(
    ("values", "widths", "expected"),
    [
        ([38.1], [5.8], 1),  # half of 5.8 is 2.9
        ([0.0123], [0.008], 4),
        ([1.0], [0.02, 20.0], 1),  # at most one digit more than the widest needs
        ([0.38, 0.04], [], 3),
        ([2.6, 26.0], [0.0, math.nan], 1),
        ([0.0], [], 2),
        ([], [], 2),
        ([1e-9], [1e-9], 6),
        ([1.0], [5e-324], 1),
    ],
)
def test_decimals(values, widths, expected):
    assert numbers.decimals(values, widths) == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (1234.5678, 1, "1,234.6"),
        (-0.5, 2, f"{MINUS}0.50"),
        (-0.001, 2, "0.00"),
        (-1.25e300, 2, f"{MINUS}1.25e300"),
        (1.25e-11, 6, f"1.25e{MINUS}11"),
        (5e-324, 6, f"4.94e{MINUS}324"),
        (999_999_999_999_999, 0, "999,999,999,999,999"),
        (None, 2, DASH),
        (math.nan, 2, DASH),
        (math.inf, 2, DASH),
    ],
)
def test_number(value, digits, expected):
    assert numbers.number(value, digits) == expected


def test_signed_and_intervals():
    assert numbers.signed(0.5, 1) == "+0.5"
    assert numbers.signed(-0.5, 1) == f"{MINUS}0.5"
    assert numbers.signed(0.001, 1) == "0.0"
    assert numbers.interval(-1, 2, 0) == f"{MINUS}1 to 2"
    assert numbers.interval(None, 2, 0) == ""


@given(st.floats(1e-12, 1e3), st.floats(0, 1e3), st.integers(0, 6), st.booleans())
def test_interval_without_zero_excludes_zero_as_printed(end, width, digits, negative):
    low, high = (-end - width, -end) if negative else (end, end + width)
    ends = numbers.interval_without_zero(low, high, digits).replace(MINUS, "-").replace(",", "")
    first, last = (float(part) for part in ends.split(" to "))
    assert first <= last
    assert last < 0 if negative else first > 0


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (None, DASH),
        (0.0, "< 0.001"),
        (0.0009, "< 0.001"),
        (0.0496, "0.050"),
        (0.05, "0.050"),
        (0.0501, "> 0.05"),
        (0.051, "0.051"),
        (0.9999, "1"),
    ],
)
def test_p_value(p, expected):
    assert numbers.p_value(p) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "about 1"),
        (99, "about 99"),
        (101, "about 110"),
        (12_345, "about 13,000"),
        (100_001, "over 100,000"),
    ],
)
def test_estimate(count, expected):
    assert numbers.estimate(count) == expected


def test_words():
    assert numbers.listing([]) == ""
    assert numbers.listing(["a"]) == "a"
    assert numbers.listing(["a", "b"]) == "a and b"
    assert numbers.listing(["a", "b", "c"]) == "a, b and c"
    assert numbers.plural(1, "image") == "1 image"
    assert numbers.plural(1000, "image") == "1,000 images"
    assert numbers.counts([60, 600]) == "n = 60 to 600"


def test_three_digits():
    shown = [numbers.three_digits(value) for value in (4.544, 42.808, 0.0409, 380.2, 24_000, 0.0)]
    assert shown == ["4.54", "42.8", "0.0409", "380", "24,000", "0.00"]
