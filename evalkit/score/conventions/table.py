"""The table of conventions of one metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Relative: JPEG decoders and rounding differ between two tools of the same convention.
TOOLS_DIFFER = 1e-4
Fit = Literal["rounding", "interval", ""]


@dataclass(frozen=True)
class ConventionRow:
    """The metric under one convention."""

    convention: str
    tools: str
    description: str
    value: float | None = None  # None: not measured, and `note` gives the reason
    low: float | None = None  # of the 95% sampling interval over images or prompts
    high: float | None = None
    count: int = 0  # images
    prompts: int = 0  # 0 for a metric without prompts
    reference_count: int = 0  # 0 if the reference does not state it, and without one
    tools_differ: float = TOOLS_DIFFER  # relative: two tools of this convention agree up to this
    distance: float | None = None  # value - target
    fit: Fit = ""  # the target agrees to its last digit, or lies in the sampling interval
    note: str = ""


@dataclass(frozen=True)
class ConventionTable:
    """The result of `conventions`: one row per convention, and the conclusion in sentences."""

    metric: str
    rows: list[ConventionRow]
    verdict: str  # "" without a target
    notes: list[str]


def not_pinned(digest: str) -> str:
    """The note on values of weights that a user gave."""
    return (
        f"The weights are not the pinned ones: SHA-256 {digest}. These values are not comparable"
        " with published values."
    )
