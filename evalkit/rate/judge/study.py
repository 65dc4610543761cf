"""The study that a judge answers: an existing one, or a new one without checks."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.files import parse_toml, read_utf8
from evalkit.hints import did_you_mean
from evalkit.rate.serve.pool import Pool
from evalkit.ratings.study import PREFERENCE, SCALES, Question, Study
from evalkit.ratings.study_file import EXAMPLE, from_values, read_study, refuse_other_design, shown
from evalkit.run_folder import Run

_MODES = {"rubric": "scale", "pairwise": "pairwise"}
_DEFAULTS = {"rubric": SCALES[0], "pairwise": PREFERENCE}  # in the words that people get
_HINT = "See docs/judges.md for an example of a rubric."
_KEYS = ("questions", "title", "instructions")


def new_study(
    run: Run,
    pool: Pool,
    name: str,
    kind: str,
    rubric: os.PathLike[str] | str | None,
    models: Sequence[str],
    items: int | None,
    seed: int,
) -> Study:
    """The study of this name as it is in the run, or a new one. Nothing is written.

    Raises EvalkitError for an existing study of another design, and for a rubric without a scale.
    """
    if kind not in _MODES:
        raise EvalkitError(f"kind is {kind!r}; expected {' or '.join(_MODES)}.", code="rate-16")
    given: dict[str, Any] = {"mode": _MODES[kind]}
    given |= read_rubric(Path(rubric), kind) if rubric is not None else {}
    if models:
        pool.check_models(models)
        given["models"] = list(models)
    if items is not None:
        given["items_per_rater"] = items
    source = f"The study {name!r}" if rubric is None else str(rubric)
    if run.study_path(name).is_file():
        known = read_study(run, name)
        found = _study(asdict(known) | given, source, rubric is not None)
        refuse_other_design(found, known, f"The study {name!r} of {run.path}")
        return known
    labels = given.get("models") or list(pool.models)
    pool.check_models(labels)
    values = {
        "study": name,
        "models": labels,
        "prompts": list(pool.to_ask(labels)),
        "questions": [asdict(_DEFAULTS[kind])],
        "seed": seed,
        "created_at": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        **given,
    }
    return _study(values, source, rubric is not None)


def _study(values: dict[str, Any], source: str, has_rubric: bool) -> Study:
    """The study of these values; what is wrong in a rubric is described on another page."""
    try:
        return from_values(_plain(values), source)
    except EvalkitError as error:
        hint = _HINT if has_rubric and error.hint == EXAMPLE else error.hint
        raise EvalkitError(error.message, hint, code=error.code) from error


def read_rubric(path: Path, kind: str) -> dict[str, Any]:
    """The keys of a rubric file. Raises EvalkitError; of a rubric, each question has a scale."""
    try:
        found = parse_toml(read_utf8(path))
    except OSError as error:
        raise EvalkitError(
            f"The rubric {path} cannot be read: {error.strerror}.", _HINT, code="rate-17"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"The rubric {path} is not valid TOML: {error}.", _HINT, code="rate-18"
        ) from error
    for key in found:
        if key not in _KEYS:
            raise EvalkitError(
                f"{path} has the unknown key {key!r}.", did_you_mean(key, _KEYS), code="rate-19"
            )
    questions = found.get("questions")
    if not isinstance(questions, list) or not questions:
        raise EvalkitError(
            f"The rubric {path} has no [[questions]]; expected at least one.", _HINT, code="rate-20"
        )
    known = [field.name for field in fields(Question)]
    names: list[Any] = []
    for number, question in enumerate(questions, 1):
        if isinstance(question, dict):
            name = question.get("name", number)
            subject = f"The question {name!r} of {path}"
            for key in question:
                if key not in known:
                    hint = did_you_mean(key, known)
                    raise EvalkitError(
                        f"{subject} has the unknown key {key!r}.", hint, code="rate-21"
                    )
            if name in names:
                raise EvalkitError(
                    f"{path} has two questions with the name {name!r}; expected each name once.",
                    _HINT,
                    code="rate-22",
                )
            names.append(name)
            _check_anchors(question.get("anchors", []), subject, kind)
    return found


def _check_anchors(anchors: Any, subject: str, kind: str) -> None:
    """Raises EvalkitError unless these are different words; their number is checked later."""
    is_list = isinstance(anchors, list)
    if not is_list or not all(isinstance(one, str) and one.strip() for one in anchors):
        problem = f"has anchors = {shown(anchors)}; expected a list of texts that are not empty"
    elif kind == "rubric" and not anchors:
        problem = "has no scale; expected `anchors`, the words for its points from the lowest"
    elif twice := [one for at, one in enumerate(anchors) if one in anchors[:at]]:
        problem = f"has the anchor {twice[0]!r:.80} twice; expected other words for each point"
    else:
        return
    raise EvalkitError(f"{subject} {problem}.", _HINT, code="rate-23")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values as TOML has them: lists, not tuples."""
    return {
        name: [
            {key: list(one) if isinstance(one, tuple) else one for key, one in item.items()}
            if isinstance(item, dict)
            else item
            for item in value
        ]
        if isinstance(value, list | tuple)
        else value
        for name, value in values.items()
    }
