"""Figures for papers, slides and notebooks.

Each function takes a data frame and returns a matplotlib figure; `evalkit.figures(path)` writes all
figures of a run. matplotlib is imported on first use.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.figures.difference_dots import difference_dots as difference_dots
    from evalkit.figures.fid_by_count import fid_by_count as fid_by_count
    from evalkit.figures.group_dots import group_dots as group_dots
    from evalkit.figures.image_grid import image_grid as image_grid
    from evalkit.figures.metric_agreement import metric_agreement as metric_agreement
    from evalkit.figures.metric_dots import metric_dots as metric_dots
    from evalkit.figures.pareto import pareto as pareto
    from evalkit.figures.raters import metric_against_human as metric_against_human
    from evalkit.figures.raters import strengths as strengths
    from evalkit.figures.raters import win_rates as win_rates
    from evalkit.figures.score_distribution import score_distribution as score_distribution

_PUBLIC = {  # name: the module that defines it
    "difference_dots": "difference_dots",
    "fid_by_count": "fid_by_count",
    "group_dots": "group_dots",
    "image_grid": "image_grid",
    "metric_against_human": "raters",
    "metric_agreement": "metric_agreement",
    "metric_dots": "metric_dots",
    "pareto": "pareto",
    "score_distribution": "score_distribution",
    "strengths": "raters",
    "win_rates": "raters",
}
__all__ = list(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'evalkit.figures' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"evalkit.figures.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


class _Figures(ModuleType):
    """`evalkit.figures` is the room of the functions, and the function of the command."""

    def __call__(
        self,
        path: os.PathLike[str] | str,
        *,
        width: str = "icml",
        columns: str = "one",
        only: str | Sequence[str] | None = None,
        metrics: str | Sequence[str] | None = None,
        out: os.PathLike[str] | str | None = None,
    ) -> Path:
        """Write the figures of a scored run; see `evalkit.figures.write.write_figures`."""
        from evalkit.figures.write import write_figures

        return write_figures(
            path, width=width, columns=columns, only=only, metrics=metrics, out=out
        )

    def __setattr__(self, name: str, value: object) -> None:
        # Importing a submodule binds it here: `evalkit.figures.pareto` stays the function.
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Figures


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
