"""ratings/summary.json: what the raters of a run say. Reading it needs no statistics."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core import ComparisonRow, EvalkitError
from evalkit.ratings.exclusion import RaterCare
from evalkit.run_folder import Run

TARGET = 0.05  # the half width of a narrow interval, as a share of the range of the values


@dataclass(frozen=True)
class Value:
    """A value with its 95% interval."""

    value: float | None  # None: not measured, and `method` gives the reason
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True)
class ModelResult:
    """One value of one model, in the words of metrics.json."""

    model: str
    metric: str  # mean_opinion, yes_rate, win_rate or strength
    result: Value
    all_raters: float | None  # the value with the excluded raters
    images: int
    votes: int
    more: int | None = None  # answers that a narrow interval needs (see TARGET); None: not known
    more_note: str = ""  # in words, or why it is not known


@dataclass(frozen=True)
class JudgeFigures:
    """A model that judged, on one question."""

    model: str  # as it was requested
    fingerprint: str  # address, parameters of requests, size of images
    template: str  # a hash of what the model reads besides prompts and images
    snapshots: tuple[str, ...]  # what answered, as the service reports it
    answers: int  # in the declared form
    without: Mapping[str, int]  # items without a vote although they were asked, by reason
    pairs: int  # with an answer in both orders
    flips: int  # of these, with different verdicts
    flip_rate: Value | None  # the share of these; None for single images
    first: Value | None  # share of decided answers for the first image; None for single images


@dataclass(frozen=True)
class PollSummary:
    """One question of one study, answered by raters of one kind."""

    study: str
    kind: str
    question: str
    mode: str
    text: str  # of the question
    models: tuple[str, ...]
    requested: int  # images of each model in the study
    votes: int
    prompts: int
    raters: tuple[RaterCare, ...]  # also the excluded ones
    excluded: Mapping[str, str]  # rater -> reason
    cannot_tell: int
    ties: int
    both_bad: int
    alpha: Value  # Krippendorff's, between raters
    opposed: tuple[str, ...]  # pairs of raters who disagree more than by chance
    left: Value | None  # share of decided votes for the left image; None for single images
    results: tuple[ModelResult, ...]
    matrix: tuple[tuple[float | None, ...], ...]  # win rate of the row against the column
    comparisons: tuple[ComparisonRow, ...]
    remarks: tuple[str, ...]
    judge: JudgeFigures | None = None  # of answers that `evalkit rate judge` collected

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.question}"


def from_json(entry: Mapping[str, Any]) -> PollSummary:
    """A summary from its `asdict` as JSON. Raises KeyError or TypeError for anything else."""

    def value(found: Mapping[str, Any] | None) -> Value | None:
        return None if found is None else Value(**found)

    def judge(found: Mapping[str, Any] | None) -> JudgeFigures | None:
        if found is None:
            return None
        shares = {name: value(found[name]) for name in ("flip_rate", "first")}
        return JudgeFigures(**{**found, **shares, "snapshots": tuple(found["snapshots"])})

    results = [ModelResult(**{**one, "result": Value(**one["result"])}) for one in entry["results"]]
    made = {
        "models": tuple(entry["models"]),
        "raters": tuple(RaterCare(**one) for one in entry["raters"]),
        "alpha": Value(**entry["alpha"]),
        "opposed": tuple(entry["opposed"]),
        "left": value(entry["left"]),
        "results": tuple(results),
        "matrix": tuple(map(tuple, entry["matrix"])),
        "comparisons": tuple(ComparisonRow(**one) for one in entry["comparisons"]),
        "remarks": tuple(entry["remarks"]),
        "judge": judge(entry.get("judge")),
    }
    return PollSummary(**{**entry, **made})


def read_summaries(run: Run) -> list[PollSummary]:
    """The content of ratings/summary.json; [] for a run without ratings.

    Raises EvalkitError if the file is damaged.
    """
    try:
        return [from_json(entry) for entry in run.summary()]
    except (KeyError, TypeError) as error:
        raise EvalkitError(
            f"{run.summary_path} is damaged, or was written by another version of evalkit.",
            f"Write it again with `evalkit rate summary {shlex.quote(str(run.path))}`.",
            code="ratings-19",
        ) from error
