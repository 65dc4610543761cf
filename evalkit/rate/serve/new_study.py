"""The study that `evalkit rate serve` asks: an existing one, or a sensible new one."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import tomli_w

from evalkit.core import EvalkitError
from evalkit.files import parse_toml, read_utf8
from evalkit.rate.serve.order import items_per_rater, study_items
from evalkit.rate.serve.pool import Pool
from evalkit.ratings.study import CHECKLIST, PREFERENCE, SCALES, Mode, Study
from evalkit.ratings.study_file import from_toml, read_study, shown, write_study
from evalkit.run_folder import Run

log = logging.getLogger(__name__)
NAMES = {"pairwise": "preference", "scale": "opinion", "checklist": "checklist"}
_MOST_ITEMS = 100  # per rater, by default: half an hour
_CHECK_SHARE, _FEWEST_CHECKS, _ENOUGH = 0.05, 2, 20  # checks come with 20 items or more
_QUESTIONS = {"pairwise": (PREFERENCE,), "scale": SCALES, "checklist": CHECKLIST}
_TITLES = {
    "pairwise": "Which image is better?",
    "scale": "Rate the images",
    "checklist": "Check the images",
}


def read_config(path: Path | str) -> dict[str, Any]:
    """The keys of a study file that may be incomplete. Raises EvalkitError."""
    try:
        return parse_toml(read_utf8(Path(path)))
    except OSError as error:
        raise EvalkitError(
            f"The study file {path} cannot be read: {error.strerror}.",
            "Check the path given to --config.",
            code="rate-34",
        ) from error
    except (ValueError, RecursionError) as error:
        raise EvalkitError(
            f"{path} is not valid TOML: {error}.",
            "See docs/ratings/files.md for an example.",
            code="rate-35",
        ) from error


def open_study(run: Run, pool: Pool, given: Mapping[str, Any], source: str) -> Study:
    """The study with these keys: an existing one, or a new one that is written before it is asked.

    given: keys of the study file; what is missing is taken from the existing study, or chosen.
    source: where the keys come from, for errors.
    Raises EvalkitError for a key that has another value in the existing study.
    """
    values = dict(given)
    mode = values.get("mode") or ("pairwise" if len(_models(values, pool)) > 1 else "scale")
    if mode not in get_args(Mode):
        _refuse(source, "mode", mode, "pairwise, scale or checklist")
    name = values.get("study") or NAMES[mode]
    if isinstance(name, str) and run.study_path(name).is_file():
        known = read_study(run, name)
        if mode != known.mode and "mode" in values:  # its questions would be refused first
            raise EvalkitError(
                f"The study {name!r} of {run.path} exists with another design: mode is"
                f" {shown(known.mode)}, not {shown(mode)}.",
                "Give the new design another name: `--study NAME`.",
                code="rate-36",
            )
        values = asdict(known) | values
        if isinstance(values["exclude"], Mapping):
            values["exclude"] = asdict(known.exclude) | dict(values["exclude"])
        study = write_study(run, from_toml(_toml(values, source), source))
        log.info("continuing %s", run.study_path(name))
        return study
    study = write_study(run, _new_study(values | {"study": name, "mode": mode}, pool, source))
    log.info("%s", _described(run, study))
    return study


def _new_study(given: dict[str, Any], pool: Pool, source: str) -> Study:
    mode, models = given["mode"], _models(given, pool)
    pool.check_models(models)
    questions = [asdict(question) for question in _QUESTIONS[mode]]
    values: dict[str, Any] = {
        "models": models,
        "prompts": given["prompts"] if "prompts" in given else pool.to_ask(models),
        "questions": questions,
        "title": _TITLES[mode],
        "created_at": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        **given,
    }
    rule = given.get("exclude", {})
    if isinstance(rule, Mapping) and isinstance(values["questions"], list):
        # All answers about one bad image may be wrong, as with one question.
        values["exclude"] = {"attention_errors": len(values["questions"])} | dict(rule)
    study = from_toml(_toml(values, source), source)
    total = len(study_items(study))
    if "items_per_rater" not in given:
        values["items_per_rater"] = _MOST_ITEMS if total > _MOST_ITEMS else 0
    count = min(values["items_per_rater"] or total, total)
    checks = max(_FEWEST_CHECKS, round(count * _CHECK_SHARE)) if count >= _ENOUGH else 0
    values = {"repeat_items": checks, "attention_items": checks} | values
    study = from_toml(_toml(values, source), source)
    items_per_rater(study)  # raises if the checks are too many
    pool.of(study)  # raises if an image is missing
    _warn_of_names(study)
    return study


def _models(values: Mapping[str, Any], pool: Pool) -> Sequence[str]:
    models = values.get("models") or pool.models
    if not isinstance(models, list | tuple) or not all(isinstance(item, str) for item in models):
        raise EvalkitError(f"models is {shown(models)}; expected a list of labels.", code="rate-37")
    return models


def _toml(values: Mapping[str, Any], source: str) -> str:
    try:
        return tomli_w.dumps(values)
    except TypeError as error:
        raise EvalkitError(
            f"{source} cannot be written as TOML: {error}.",
            "See docs/ratings/files.md for an example.",
            code="rate-38",
        ) from error


def _refuse(source: str, key: str, found: object, expected: str) -> None:
    raise EvalkitError(f"{source} has {key} = {shown(found)}; expected {expected}.", code="rate-39")


def _warn_of_names(study: Study) -> None:
    """A text of the study that names a model is not blind."""
    texts = [study.title, study.instructions]
    texts += [text for item in study.questions for text in (item.text, *item.anchors)]
    for model in study.models:
        word = re.compile(rf"(?<!\w){re.escape(model)}(?!\w)", re.IGNORECASE)
        if any(word.search(text) for text in texts):
            log.warning(
                "raters read the word %r, the name of a model, in a text of the study", model
            )


def _described(run: Run, study: Study) -> str:
    """What a new study asks, in one line, without names of models."""
    kind = {"pairwise": "A/B", "scale": "scale", "checklist": "yes/no questions"}[study.mode]
    total, count = len(study_items(study)), items_per_rater(study)
    return (
        f"new study {run.study_path(study.study)}: {kind}, {len(study.models)} models,"
        f" {len(study.prompts)} prompts; {count} of {total} items per rater,"
        f" {study.repeat_items} of them asked twice, {study.attention_items} attention checks"
    )
