"""Metrics, scorers and encoders by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.config import Value
from evalkit.core import Encoder, EvalkitError, Metric
from evalkit.hints import a_type
from evalkit.plugin_calls import named, plugin_call
from evalkit.plugins.importing import ATTRIBUTE, entries, find, names, split
from evalkit.plugins.options import call, checked_options, is_text, no_argument, with_argument
from evalkit.scorer import LoadedScorer, Scorer
from evalkit.specs import split_names


def metric_names() -> list[str]:
    """All that `--metrics` takes by name: the installed metrics and scorers, sorted."""
    return sorted({*names("metric"), *names("scorer")})


def metric(name: str) -> Metric:
    """The metric of a name, or that of a scorer, also of `scorer:argument`.

    Raises EvalkitError for an unknown name, and for a name that both have.
    """
    name, argument = split(name, "scorer")
    scored = name in entries("scorer")
    if scored and name in entries("metric"):
        raise EvalkitError(
            f"Both a metric and a scorer are installed under the name {name!r}.",
            "Uninstall one of their packages.",
            code="plugins-5",
        )
    found = find("scorer" if scored else "metric", name)
    if isinstance(found, Scorer):
        return _of_argument(found, argument).metric
    if not isinstance(found, Metric):
        raise EvalkitError(
            f"The metric {name!r} is {a_type(found)}; expected an evalkit.Metric or an"
            " evalkit.Scorer.",
            code="plugins-6",
        )
    return found


def _of_argument(scorer: Scorer, argument: str) -> Scorer:
    if not argument:
        return scorer
    if scorer.with_argument is None:
        raise no_argument(scorer.name, argument)
    with plugin_call(scorer.with_argument, f"The scorer {scorer.name!r} failed"):
        return scorer.with_argument(argument)


def scorer(name: str) -> Scorer:
    """The scorer of a name."""
    found = metric(name).scorer
    if found is None:
        raise EvalkitError(f"{name!r} is a metric; expected a scorer.", code="plugins-7")
    return found


def scorer_names(metrics: str | Sequence[str] | None) -> list[str]:
    """The names of scorers: the installed ones, and those of `module:attribute` and of
    `scorer:argument` in `metrics`.
    """
    texts = split_names(metrics) if isinstance(metrics, str) else metrics or ()
    own = [metric(one) for one in texts if ATTRIBUTE.fullmatch(one) or split(one, "scorer")[1]]
    return [*names("scorer"), *(one.scorer.name for one in own if one.scorer is not None)]


def load_scorer(
    scorer: Scorer, given: Mapping[str, Value], device: str, cache: Path
) -> LoadedScorer:
    """A scorer with its options, loaded.

    Raises EvalkitError for an unknown option, and where it cannot be loaded.
    """
    options = checked_options(scorer.load, given, scorer.name, "scorer")
    found = call(scorer.load, scorer.name, options, {"device": device, "cache": cache})
    with named(found, f"The scorer {scorer.name!r} failed"):
        texts = [getattr(found, field, None) for field in ("name", "fingerprint")]
        good = all(is_text(text) and text for text in texts) and callable(found)
        at_once = getattr(found, "at_once", None)
        good = good and (at_once is None or (isinstance(at_once, int) and at_once > 0))
    if not good or not re.fullmatch(r"[\w.-]{1,100}", str(texts[0])):
        raise EvalkitError(
            f"The scorer {scorer.name!r} loads {a_type(found)}; expected a LoadedScorer:"
            " a call, a fingerprint, a name of letters, digits, _, - and dots, and a whole number"
            " as at_once, if any.",
            "See docs/plugins/scorer.md.",
            code="plugins-8",
        )
    return found  # pyright: ignore[reportReturnType]


def encoder(name: str, device: str = "auto") -> Encoder:
    """The encoder of a name, or of `name:argument`, with its weights loaded."""
    plain, argument = split(name, "encoder")
    target = find("encoder", plain)
    options = with_argument(target, plain, argument, {}) if argument else {}
    found = call(target, name, options, {"device": device})
    with named(found, f"The encoder {name!r} failed"):
        texts = [getattr(found, field, None) for field in ("name", "fingerprint")]
        functions = [getattr(found, field, None) for field in ("prepare", "__call__")]
    if texts[0] and is_text(texts[0]) and not re.fullmatch(r"[\w.-]{1,100}", texts[0]):
        raise EvalkitError(
            f"The encoder {name!r} has the name {texts[0]!r:.120}; expected letters, digits, _, -"
            " and dots, 100 at most: files are named by it.",
            "Change its attribute `name`.",
            code="plugins-9",
        )
    if not all(is_text(text) and text for text in texts) or not all(map(callable, functions)):
        raise EvalkitError(
            f"The encoder {name!r} has the type {type(found).__name__}; expected an object"
            " with the texts name and fingerprint, the method prepare, and a call (core.Encoder).",
            "See docs/plugins/encoder.md.",
            code="plugins-10",
        )
    return found
