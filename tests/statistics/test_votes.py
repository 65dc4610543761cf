"""Votes are five columns of one length, with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.statistics.votes import BOTH_BAD, CANNOT_TELL, LEFT, RIGHT, TIE, checked, counted

COLUMNS = ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [LEFT, RIGHT, TIE, BOTH_BAD, CANNOT_TELL])


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("kept", [0, 4])
def test_a_column_of_another_length_is_refused(column: int, kept: int) -> None:
    columns = [*COLUMNS, [0] * 5, [0] * 5]
    columns[column] = columns[column][:kept]
    with pytest.raises(ValueError, match="five arrays"):
        checked(*columns)


def test_an_answer_that_is_not_known_is_refused() -> None:
    for answer in (-2, 4):
        with pytest.raises(ValueError, match="an answer must be"):
            checked([0, 0], [1, 1], [LEFT, answer], [0, 0], [0, 0])


def test_both_bad_is_counted_as_a_tie_and_cannot_tell_not_at_all() -> None:
    found = counted(checked(*COLUMNS, np.arange(5), np.arange(5) + 10))
    assert found.answer.tolist() == [LEFT, RIGHT, TIE, TIE]
    assert found.prompts.tolist() == [0, 1, 2, 3]
    assert found.raters.tolist() == [10, 11, 12, 13]
