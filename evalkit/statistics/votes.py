"""Votes between two images of one prompt: the input of win rates, strengths and planning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEFT, TIE, RIGHT, BOTH_BAD, CANNOT_TELL = 1, 0, -1, 2, 3


class Votes(NamedTuple):
    """N votes. `checked` makes them from anything that numpy takes."""

    left: NDArray[np.int64]  # [N], the model shown left, 0 .. M - 1
    right: NDArray[np.int64]  # [N]
    answer: NDArray[np.int64]  # [N], LEFT (the left model is preferred), TIE, RIGHT, ...
    prompts: NDArray[np.int64]  # [N], any numbers
    raters: NDArray[np.int64]  # [N]


class Counts(NamedTuple):
    """How many votes of each kind there are."""

    decided: int
    tie: int
    both_bad: int  # counts as a tie in every value
    cannot_tell: int  # in no value


def checked(
    left: ArrayLike, right: ArrayLike, answer: ArrayLike, prompts: ArrayLike, raters: ArrayLike
) -> Votes:
    """Votes of equal length. Raises ValueError for unknown answers, or a model against itself."""
    columns = (left, right, answer, prompts, raters)
    votes = Votes(*(np.asarray(column, dtype=np.int64) for column in columns))
    if any(column.shape != (len(votes.left),) for column in votes):
        raise ValueError("left, right, answer, prompts and raters must be five arrays [N]")
    if not np.isin(votes.answer, (LEFT, TIE, RIGHT, BOTH_BAD, CANNOT_TELL)).all():
        raise ValueError("an answer must be LEFT, TIE, RIGHT, BOTH_BAD or CANNOT_TELL")
    if (votes.left == votes.right).any():
        raise ValueError("a vote compares a model with itself")
    return votes


def counts(votes: Votes) -> Counts:
    """The number of votes of each kind."""
    kinds = ((LEFT, RIGHT), (TIE,), (BOTH_BAD,), (CANNOT_TELL,))
    return Counts(*(int(np.isin(votes.answer, kind).sum()) for kind in kinds))


def counted(votes: Votes) -> Votes:
    """Without those that cannot tell; both bad is a tie: answers are LEFT, TIE or RIGHT only."""
    votes = select(votes, votes.answer != CANNOT_TELL)
    return votes._replace(answer=np.where(votes.answer == BOTH_BAD, TIE, votes.answer))


def select(votes: Votes, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Votes:
    """The chosen votes."""
    return Votes(*(column[chosen] for column in votes))
