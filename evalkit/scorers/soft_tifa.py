"""Soft-TIFA of GenEval 2, and TIFA with the same answers."""

from __future__ import annotations

import math
from dataclasses import replace

from evalkit.scorer import Scorer
from evalkit.scorers.question_answering import QuestionAnswering
from evalkit.scorers.vlm import NEEDS_MODEL

SOFT_TIFA = Scorer(
    "soft_tifa",
    "higher",
    load=QuestionAnswering,
    output="mean",
    title="Soft-TIFA AM",
    question="How probable are the right answers to questions about the image, on average?",
    meaning="Mean probability of the right answers to a prompt's questions, of Soft-TIFA.",
    paper="https://arxiv.org/abs/2512.16853",
    range=(0.0, math.inf),  # above 1 with `duplicates=geneval2` only
    from_zero=True,
    missing=lambda: NEEDS_MODEL.format("soft_tifa"),
)
SOFT_TIFA_GM = replace(
    SOFT_TIFA,
    name="soft_tifa_gm",
    output="geometric",
    title="Soft-TIFA GM",
    question="How probable are right answers to all questions about the image?",
    meaning="Geometric mean of the probabilities of the right answers to a prompt's questions.",
    missing=lambda: NEEDS_MODEL.format("soft_tifa_gm"),
)
TIFA = replace(
    SOFT_TIFA,
    name="tifa",
    output="tifa",
    title="TIFA",
    question="How many questions about the image are answered as the prompt says?",
    meaning="Share of a prompt's questions that the most probable first token answers rightly.",
    paper="https://arxiv.org/abs/2303.11897",
    range=(0.0, 1.0),
    missing=lambda: NEEDS_MODEL.format("tifa"),
)
