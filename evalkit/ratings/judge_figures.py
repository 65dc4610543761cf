"""What can be said of a judge beside its votes: what has no vote, and how it depends on order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.ratings.judged import Answered, preferred, read_journal, read_judge, votes_of
from evalkit.ratings.rating import parts
from evalkit.ratings.study import Study
from evalkit.ratings.summary_file import JudgeFigures, Value
from evalkit.run_folder import Run
from evalkit.statistics import intervals


def judge_figures(run: Run, study: Study, question: str) -> JudgeFigures | None:
    """The figures of a judge on one question of a study; None for a study without a judge."""
    judge = read_judge(run, study.study)
    if judge is None:
        return None
    _, last = read_journal(run, study.study)
    own = {key: one for key, one in last.items() if one.question == question}
    answers = [one for one in own.values() if one.answer]
    flips, pairs, flip_rate, first = 0, 0, None, None
    if study.mode == "pairwise":
        flips, pairs, flip_rate = _flips(answers)
        decided = [one for one in answers if one.answer != "tie"]
        first = _share([one.answer == "first" for one in decided], decided)
    snapshots = dict.fromkeys(str(one.snapshot) for one in answers)
    return JudgeFigures(
        model=judge.model,
        fingerprint=judge.fingerprint,
        template=judge.template,
        snapshots=tuple(snapshots),
        answers=len(answers),
        without=dict(votes_of(study, judge, last, None, question).without),
        pairs=pairs,
        flips=flips,
        flip_rate=flip_rate,
        first=first,
    )


def _flips(answers: Sequence[Answered]) -> tuple[int, int, Value]:
    """Pairs whose two orders have different verdicts, all pairs with two answers, and the share."""
    by_item: dict[str, list[Answered]] = {}
    for one in answers:
        by_item.setdefault(one.item, []).append(one)
    both = [group for group in by_item.values() if len(group) == 2]
    flipped = [preferred(one) != preferred(other) for one, other in both]
    return sum(flipped), len(both), _share(flipped, [group[0] for group in both])


def _share(hits: Sequence[bool], of: Sequence[Answered]) -> Value:
    """A share with its interval over prompts."""
    if not of:
        return Value(None, None, None, "not measured: no answers")
    _, prompts = np.unique([parts(one.item)[0] for one in of], return_inverse=True)
    values = np.array(hits, np.float64)
    return Value(float(values.mean()), *intervals.rate(values, prompts.astype(np.int64)))
