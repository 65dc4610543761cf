"""The care that raters took, and who is excluded: by the rule of the study, or by name.

The file `ratings/excluded.csv` names raters who are excluded for other reasons.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.ratings.files import rater_id
from evalkit.ratings.rating import CANNOT_TELL, NO, Rating, parts
from evalkit.ratings.study import Exclusion, Study
from evalkit.run_folder import Run

_EXCLUDED = ("rater", "reason")  # columns of excluded.csv
_EXAMPLE = "A row is, for example, `anna,knew the models`."


@dataclass(frozen=True)
class RaterCare:
    """How carefully one rater answered, over all questions of a study."""

    rater: str
    answers: int  # without those of checks
    attention: int  # attention checks that were answered
    attention_right: int
    repeats: int  # items that were asked again
    repeats_equal: int  # with the same answer; on a scale of more than two points, within one
    median_ms: float | None  # None: no times are known
    fast: int  # answers in less time than the rule's fast_ms, of those with a known time
    timed: int


class Excluded(NamedTuple):
    """A rater whom the rule excludes, and the figures behind it."""

    rater: str
    reason: str


def care(study: Study, ratings: Sequence[Rating]) -> list[RaterCare]:
    """The care of each rater, in order of first appearance.

    Args:
        ratings: the last revisions of the answers to this study by raters of one kind, those of
            checks included.
    """
    by_rater: dict[str, list[Rating]] = {}
    for rating in ratings:
        by_rater.setdefault(rating.rater, []).append(rating)
    return [_care(study, name, own) for name, own in by_rater.items()]


def excluded(rule: Exclusion, raters: Sequence[RaterCare]) -> list[Excluded]:
    """Whom the rule excludes, each with all reasons."""
    found = ((one.rater, "; ".join(_reasons(rule, one))) for one in raters)
    return [Excluded(rater, reason) for rater, reason in found if reason]


def read_excluded(run: Run) -> dict[str, str]:
    """The raters of ratings/excluded.csv, each with the reason. Raises EvalkitError."""
    path, found = run.excluded_path, {}
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not CSV in UTF-8"
        raise EvalkitError(
            f"{path} cannot be read: {reason}.", _EXAMPLE, code="ratings-1"
        ) from error
    if rows and [name.strip().lower() for name in rows[0]] != list(_EXCLUDED):
        raise EvalkitError(
            f"{path} begins with {','.join(rows[0])[:80]!r}; expected rater,reason.",
            _EXAMPLE,
            code="ratings-2",
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(_EXCLUDED) or not all(cell.strip() for cell in row):
            raise EvalkitError(
                f"Row {number} of {path} is {','.join(row)[:80]!r}; expected a rater and a reason.",
                _EXAMPLE,
                code="ratings-3",
            )
        found[rater_id(row[0].strip())] = row[1].strip()
    return found


def write_excluded(run: Run, raters: Mapping[str, str]) -> None:
    """Write ratings/excluded.csv, where it changes."""
    if raters == read_excluded(run):
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_EXCLUDED, *raters.items()])
    write_atomically(run.excluded_path, text.getvalue())


def _reasons(rule: Exclusion, one: RaterCare) -> Iterator[str]:
    wrong = one.attention - one.attention_right
    if wrong > rule.attention_errors:
        allowed = rule.attention_errors
        yield f"{wrong} of {one.attention} attention checks wrong ({allowed} allowed)"
    if one.repeats and one.repeats_equal < rule.repeat_agreement * one.repeats:
        yield (
            f"{one.repeats_equal} of {one.repeats} repeated items answered alike"
            f" ({rule.repeat_agreement:.0%} expected)"
        )
    if one.timed and one.fast > rule.fast_share * one.timed:
        yield (
            f"{one.fast} of {one.timed} answers in less than {rule.fast_ms} ms"
            f" ({rule.fast_share:.0%} allowed)"
        )


def _care(study: Study, rater: str, own: Sequence[Rating]) -> RaterCare:
    main = {(r.item, r.question): r for r in own if not r.check}
    attention = [rating for rating in own if rating.check == "attention"]
    repeats = [
        (main[r.item, r.question], r)
        for r in own
        if r.check == "repeat" and (r.item, r.question) in main
    ]
    times = [rating.ms for rating in own if rating.ms > 0]
    return RaterCare(
        rater=rater,
        answers=len(main),
        attention=len(attention),
        attention_right=sum(_is_right(study, rating) for rating in attention),
        repeats=len(repeats),
        repeats_equal=sum(_are_alike(study, first, again) for first, again in repeats),
        median_ms=statistics.median(times) if times else None,
        fast=sum(ms < study.exclude.fast_ms for ms in times),
        timed=len(times),
    )


def _is_right(study: Study, rating: Rating) -> bool:
    """Whether the bad image was found to be bad; a rater who cannot tell has not looked."""
    if study.mode == "pairwise":
        return rating.response == parts(rating.item)[1]
    if study.mode == "checklist":
        return rating.response == NO
    points = len(study.question(rating.question).anchors)
    return rating.response != CANNOT_TELL and float(rating.response) < (points + 1) / 2


def _are_alike(study: Study, first: Rating, again: Rating) -> bool:
    """Equal answers; neighbouring points of a scale are alike."""
    answers = (first.response, again.response)
    if study.mode != "scale" or CANNOT_TELL in answers:
        return first.response == again.response
    return abs(float(first.response) - float(again.response)) <= 1
