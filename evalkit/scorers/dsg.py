"""DSG and DPG-Bench: questions that count only where those that they depend on are right."""

from __future__ import annotations

from dataclasses import replace

from evalkit.scorer import Scorer
from evalkit.scorers.question_answering import QuestionAnswering
from evalkit.scorers.vlm import NEEDS_MODEL

DSG = Scorer(
    "dsg",
    "higher",
    load=QuestionAnswering,
    output="dsg",
    title="DSG",
    question="How many questions about the image are right, together with those they build on?",
    meaning="Share of a prompt's questions that are right, as are those that they depend on.",
    paper="https://arxiv.org/abs/2310.18235",
    range=(0.0, 1.0),
    from_zero=True,
    missing=lambda: NEEDS_MODEL.format("dsg"),
)
DPG = replace(
    DSG,
    name="dpg",
    output="dpg",
    title="DPG-Bench",
    question="How many questions about the image are right, as DPG-Bench's program counts them?",
    meaning="Score of DPG-Bench as its program computes it, with its two faults.",
    paper="https://arxiv.org/abs/2403.05135",
    missing=lambda: NEEDS_MODEL.format("dpg"),
)
DPG_CORRECTED = replace(
    DSG,
    name="dpg_corrected",
    title="DPG-Bench, corrected",
    question="How many questions of DPG-Bench are right, together with those they build on?",
    meaning="Score of DPG-Bench on all of its questions, with the dependencies of DSG.",
    paper="https://arxiv.org/abs/2403.05135",
    missing=lambda: NEEDS_MODEL.format("dpg_corrected"),
)
