"""Holm's correction and the rule of significance."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evalkit.statistics.multiple import ALPHA, holm, significant


def test_holm_by_hand():
    found = holm([0.01, None, 0.04, 0.03])
    assert [None if one is None else one.p for one in found] == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_agrees_with_statsmodels(values: list[float]):
    found = [one.p for one in holm(values) if one is not None]
    with mock.patch(
        "gc.collect"
    ):  # multipletests calls it, which takes a second in a large process
        expected = multipletests(values, ALPHA, "holm")[1]
    assert found == pytest.approx(expected, abs=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_p_below_the_level_is_equivalent_to_corrected_p_below_alpha(values: list[float]):
    for value, corrected in zip(values, holm(values), strict=True):
        assert corrected is not None
        if abs(corrected.p - ALPHA) > 1e-12:
            assert (value <= corrected.level) == significant(corrected.p)


def test_significance_at_alpha_and_without_a_test():
    assert not significant(None)
    assert significant(ALPHA)
    assert not significant(ALPHA + 1e-9)
