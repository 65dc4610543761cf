"""DSG and DPG-Bench: a question counts where those that it depends on are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.scorers.question import Question


def with_dependencies(questions: Sequence[Question], right: Mapping[int, bool]) -> dict[int, bool]:
    """Which answers count, by number: a question counts 0 if one that it depends on is wrong.

    As `calc_vqa_score` of DSG has it: the answers to the parents decide, whether or not these count
    themselves.
    """
    return {
        one.number: right[one.number] and all(right.get(parent, True) for parent in one.depends_on)
        for one in questions
    }


def as_dpg_bench(
    questions: Sequence[Question], right: Mapping[int, bool]
) -> dict[int, bool] | None:
    """The same as DPG-Bench's compute_dpg_bench.py computes it, with its two faults.

    It leaves out the first row of the table, as if that were the header; and it sets questions to 0
    in place, in the order of the rows, so that a child of a question that counts 0 also counts 0
    where it comes later. None where a question depends on one that is left out or missing: the
    program then drops the image.
    """
    kept = [one for one in questions if not one.first]
    scores = {one.number: right[one.number] for one in kept}
    for one in kept:
        if not scores.keys() >= set(one.depends_on):
            return None
        if not all(scores[parent] for parent in one.depends_on):
            scores[one.number] = False
    return scores or None
