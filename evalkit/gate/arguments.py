"""Arguments of the Python functions: another type is an error in one sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from evalkit.core import EvalkitError
from evalkit.score.presets import expand
from evalkit.specs import split_names


def run_text(value: Any, name: str, expected: str = "RUN or RUN:LABEL") -> str:
    """A run, as text."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text:
        raise EvalkitError(
            f"{name} is {value!r:.80}; expected a text or a path: {expected}.", code="gate-1"
        )
    return text


def metric_names(value: Any) -> list[str]:
    """Metrics, each once: a text joined by commas, or several; None is none."""
    texts = _texts(value, "metrics", "names of metrics")
    return list(dict.fromkeys(expand([name for text in texts for name in split_names(text)])))


def conditions(value: Any) -> tuple[str, ...]:
    """The conditions that may differ: one, or several; None is none."""
    return tuple(_texts(value, "allow_mismatch", "names of conditions"))


def _texts(value: Any, name: str, expected: str) -> Sequence[str]:
    texts = [value] if isinstance(value, str) else () if value is None else value
    if not (isinstance(texts, list | tuple) and all(isinstance(one, str) for one in texts)):
        raise EvalkitError(
            f"{name} is {value!r:.80}; expected a text or a list of {expected}.", code="gate-2"
        )
    return texts
