"""Scorers: what gives each image and its prompt a number. Reward models, question answering, OCR.

A `Scorer` states its number as a `Metric` does, and loads what computes it. Values are cached by
image, prompt and fingerprint, and everything after that is the same as for metrics: intervals over
prompts, paired differences, groups, the gate, the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from evalkit.core import Better, Encoder, EncoderKind, EvalkitError, Metric

if TYPE_CHECKING:  # for type checkers only: `evalkit --help` must not import torch
    from PIL.Image import Image
    from torch import Tensor

Parts = Mapping[str, Mapping[str, Sequence[float]]]
VALUE = "value"  # the name of a scorer's only number
QUESTIONS = "questions: "  # and a category: the group of a row on these questions
QUESTIONS_MEAN = (
    f"“{QUESTIONS}…” is the mean over all questions of a category; a prompt with several of them"
    " counts several times."
)
KIND = "scorer:"  # and the name: the kind of encoder that a scorer is


@dataclass(frozen=True)
class NoAnswer:
    """Why an image has no number: it is counted and named, and never a 0 in a mean.

    again: the reason may pass (a service was not reached), so the next scoring tries again.
    """

    reason: str
    again: bool = False


@dataclass(frozen=True)
class Answer:
    """Several numbers of one image, by name, and what else is worth keeping beside them.

    details: JSON (the answers to single questions, the text that was read), kept in the cache.
    parts: for values that are means over questions, by name and by category of question, the number
        of each question. Each category then has a row of its own, the mean over its questions.
    """

    values: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)


class LoadedScorer(Protocol):
    """What computes a scorer's numbers.

    It is called with up to a batch of images of any sizes (RGB) and their prompts, "" where the
    scorer reads none, and returns as many answers in their order. An iterator is read one by one,
    and each answer is on disk before the next is requested: a kill loses no answer that was paid
    for. An answer depends on the image and the prompt alone.

    The name states the weights and the convention (letters, digits, _, - and dots): it is the
    `encoder` of the rows. The fingerprint is a hash of all that an answer depends on: weights,
    preprocessing, template, settings. Optional attributes: `device`, `dtype`, as those of an
    Encoder; `truncated(prompts) -> int`, how many of these prompts it cuts; `at_once`, the images
    per call in place of the batch size.
    """

    name: str
    fingerprint: str

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterable[float | Answer | NoAnswer]: ...


@dataclass(frozen=True)
class Scorer:
    """One number per image and prompt, and everything that is stated about it.

    Args:
        name: of the metric.
        load: returns a LoadedScorer. `device` and `cache` (a path of the run folder for files of
            its own) are filled in where it declares them; its other parameters are options with
            defaults, which `[scorer.NAME]` in TOML and `--set NAME.option=value` change. It raises
            EvalkitError where weights or packages are missing: the metric is then "not measured".
        output: which of an answer's `values` this is. Scorers with one fingerprint share a cache,
            so that several numbers of one network cost one pass.
        reads_prompts: False for a number of the image alone.
        describe: `(*, fake: int, real: int) -> str`, the note of every row, as that of a `Metric`.
        missing: what this machine lacks for the defaults of the options, and how to get it, in
            words; "" for nothing. `evalkit list scorers` shows it.
        with_argument: the scorer that `NAME:ARGUMENT` means, if the scorer takes one. Its name is
            another one for each argument, so that a run may have several.
    """

    name: str
    better: Better
    load: Callable[..., LoadedScorer]
    _: KW_ONLY
    title: str = ""
    question: str = ""
    meaning: str = ""
    paper: str = ""
    range: tuple[float, float] = (-math.inf, math.inf)
    aspect: str = "agreement"
    output: str = VALUE
    reads_prompts: bool = True
    from_zero: bool = False
    version: int = 1
    describe: Callable[..., str] | None = None
    missing: Callable[[], str] | None = None
    with_argument: Callable[[str], Scorer] | None = None

    def __post_init__(self) -> None:
        if not callable(self.load):
            raise EvalkitError(
                f"The scorer {self.name!r} has load = {self.load!r:.80}; expected a function.",
                "See docs/plugins/scorer.md.",
                code="scorer-1",
            )
        self.metric  # noqa: B018 (checks the other fields)

    def lacks(self) -> str:
        """What this machine lacks, and how to get it; "" for nothing."""
        return "" if self.missing is None else self.missing()

    @property
    def kind(self) -> EncoderKind:
        """The kind of encoder that this is: one of its own."""
        return f"{KIND}{self.name}"

    @property
    def metric(self) -> Metric:
        """The number as a metric, of which this is the only encoder."""
        return Metric(
            self.name, values_of, self.output, self.kind, self.better, self.paper,
            title=self.title, question=self.question, meaning=self.meaning, range=self.range,
            aspect=self.aspect, from_zero=self.from_zero, version=self.version,
            describe=self.describe, scorer=self,
        )  # fmt: skip


def is_scorer(kind: EncoderKind) -> bool:
    """Whether a kind of encoder is a scorer."""
    return kind.startswith(KIND)


def encoders_only(
    every: Mapping[EncoderKind, Encoder | LoadedScorer],
) -> dict[EncoderKind, Encoder]:
    """Those of what a run is measured with that are no scorers."""
    return {kind: cast("Encoder", one) for kind, one in every.items() if not is_scorer(kind)}


def scorers_only(
    every: Mapping[EncoderKind, Encoder | LoadedScorer],
) -> dict[EncoderKind, LoadedScorer]:
    """Those of what a run is measured with that are scorers."""
    return {kind: cast("LoadedScorer", one) for kind, one in every.items() if is_scorer(kind)}


def values_of(*, fake: Tensor) -> Tensor:
    """The numbers of a scorer, float64 [N, 1], as one value per image; NaN: no answer."""
    return fake[:, 0]
