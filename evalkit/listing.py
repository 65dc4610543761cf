"""What `evalkit list` shows: installed plug-ins, runs, and the contents of the bundled data set."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import plugins
from evalkit.core import EvalkitError, Metric
from evalkit.encoders import weights
from evalkit.encoders.select import MINI, PHOTO, STANDARD
from evalkit.encoders.weight_files import LIBRARIES, NEEDS, licences
from evalkit.prompts.suites import suites as known_suites
from evalkit.run_folder import Run


class Listing(NamedTuple):
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def dicts(self) -> list[dict[str, str]]:
        """The rows by column, as `--json` prints them; `pandas.DataFrame` takes them."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]


def list_generators() -> list[dict[str, str]]:
    """The installed generators, with their options and defaults."""
    return generators().dicts()


def list_encoders() -> list[dict[str, str]]:
    """The installed encoders, with the state and licence of their weights."""
    return encoders().dicts()


def list_metrics() -> list[dict[str, str]]:
    """The installed metrics: what each measures, its range, encoder and inputs, and the paper."""
    return metrics().dicts()


def list_scorers() -> list[dict[str, str]]:
    """The installed scorers: what each measures, its range, options and paper."""
    return scorers().dicts()


def list_suites() -> list[dict[str, str]]:
    """Published lists of prompts, with their licences and how each is used."""
    return suites().dicts()


def list_runs(folder: Path | str = "reports") -> list[dict[str, str]]:
    """The run folders in a folder, the newest last."""
    return runs(folder).dicts()


def list_scenes() -> list[dict[str, str]]:
    """The vocabulary of the bundled data set: objects, shapes, colours, relations and styles."""
    return scenes().dicts()


def generators() -> Listing:
    """Generators with their options and defaults."""
    return Listing(
        ("name", "options", "what it is"),
        [(name, *_described("generator", name)) for name in plugins.names("generator")],
    )


def encoders() -> Listing:
    """Encoders with the state and licence of their weights."""
    rows = [
        (name, *_described("encoder", name), *_weights(name)) for name in plugins.names("encoder")
    ]
    return Listing(("name", "options", "what it is", "weights", "licence"), rows)


def _weights(encoder: str) -> tuple[str, str]:
    if encoder not in NEEDS:
        return "", ""
    gone = weights.missing(encoder)
    size = sum(item.size for item in gone) / 1e6
    return f"missing ({size:,.0f} MB to fetch)" if gone else "here", licences(encoder)


def metrics() -> Listing:
    """Metrics with what each measures and needs, and whether it can be measured here."""
    header = (
        *("name", "title", "better", "range", "encoder", "needs", "meaning", "paper"),
        *("question", "here"),
    )
    rows: list[tuple[str, ...]] = []
    for name in plugins.names("metric"):
        try:
            metric = plugins.metric(name)
            needs = ", ".join(metric.needs)
        except EvalkitError as error:
            unusable = f"not usable: {error.message}"
            rows.append((name, "", "", "", "", "", unusable, "", "", f"no: {error.message}"))
            continue
        values = _range_in_words(*metric.range)
        rows.append(
            (name, metric.measure.title, metric.better, values, metric.encoder, needs,
             metric.meaning, metric.paper, metric.question or metric.meaning, _here(metric))
        )  # fmt: skip
    return Listing(header, rows)


def scorers() -> Listing:
    """Scorers with what each measures, its options, and whether it can be used here."""
    header = (
        *("name", "title", "better", "range", "options", "meaning", "paper", "question", "here"),
    )
    rows: list[tuple[str, ...]] = []
    for name in plugins.names("scorer"):
        try:
            metric, scorer = plugins.metric(name), plugins.scorer(name)
            own = scorer.name == metric.name  # else it is another number of that scorer
            options = _options(scorer.load) if own else f"those of {scorer.name}"
            lacking = scorer.lacks()
        except (EvalkitError, TypeError, ValueError) as error:
            rows.append((name, *[""] * 7, f"no: {getattr(error, 'message', error)}"))
            continue
        rows.append(
            (name, metric.measure.title, metric.better, _range_in_words(*metric.range),
             options, metric.meaning, metric.paper, metric.question or metric.meaning,
             f"no: {lacking}" if lacking else "yes")
        )  # fmt: skip
    return Listing(header, rows)


def _here(metric: Metric) -> str:
    """With which encoder the metric can be measured on this machine, or what to do for it."""
    standard, mini = STANDARD[metric.encoder], MINI[metric.encoder]
    photo = PHOTO.get(metric.encoder, "") if metric.feature != "spatial" else ""
    library, gone = LIBRARIES.get(standard, ""), weights.missing(standard)
    if gone:
        size = sum(item.size for item in gone) / 1e6
        mend = f"run `evalkit weights fetch {standard}` ({size:,.0f} MB)"
    elif library and find_spec(library) is None:
        mend = f"run `pip install {library}`"
    else:
        return f"yes, with {standard}"
    if photo:
        return f"yes, with {photo}, and {mini} for bundled models; for {standard}, {mend}"
    return f"for bundled models, with {mini}; for others, {mend}" if mini else f"no; {mend}"


def _range_in_words(low: float, high: float) -> str:
    if math.isinf(low):
        return "any" if math.isinf(high) else f"{_end(high)} or less"
    return f"{_end(low)} or more" if math.isinf(high) else f"{_end(low)} to {_end(high)}"


def _end(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def suites() -> Listing:
    """Published lists of prompts, and how to get each."""
    rows = [
        (one.name, one.title, str(one.prompts), one.licence, one.groups, one.address,
         "content" if one.sha256 else "name and number", one.sha256 or "not known",
         f"ships with evalkit: `--prompts {one.name}`" if one.is_bundled
         else f"get {one.published} from the address: `--prompts FILE`")
        for one in known_suites().values()
    ]  # fmt: skip
    header = (
        *("name", "title", "prompts", "licence", "groups", "address", "recognised by"),
        *("sha256 of prompts", "use"),
    )
    return Listing(header, rows)


def runs(folder: Path | str = "reports") -> Listing:
    """The run folders in a folder, the newest last; none of `reports` where nothing was made yet.

    Raises EvalkitError if there is no such folder.
    """
    rows: list[tuple[float, tuple[str, ...]]] = []
    with contextlib.suppress(FileNotFoundError):
        os.stat(folder)  # glob hides other errors since Python 3.13
    if Path(folder) != Path("reports"):
        Run(folder).require_folder()
    for path in Path(folder).glob("*/prompts.jsonl"):
        run = Run(path.parent)
        models = run.models()
        images = sum(record.status == "ok" for model in models for record in run.records(model))
        cells = (
            str(run.path),
            ", ".join(models),
            f"{len(run.prompts())} prompts",
            f"{images} images",
            "scored" if run.is_scored else "not scored",
        )
        rows.append((path.stat().st_mtime, cells))
    header = ("run", "models", "prompts", "images", "state")
    return Listing(header, [row for _, row in sorted(rows)])


def scenes() -> Listing:
    """The vocabulary of the bundled data set, by kind."""
    from evalkit.scenes.tables import (
        BACKGROUNDS,
        COLOURS,
        COUNT_WORDS,
        OBJECTS,
        RELATIONS,
        SHAPES,
        STYLES,
    )

    rows = [("object", item.name, ", ".join(word for word, _ in item.words)) for item in OBJECTS]
    rows += [
        ("shape", name, ", ".join(word for word, _ in words)) for name, words in SHAPES.items()
    ]
    rows += [("colour", name, "#" + bytes(rgb).hex()) for name, rgb in COLOURS.items()]
    rows += [("count", str(count), ", ".join(words)) for count, words in COUNT_WORDS.items()]
    rows += [("relation", name, ", ".join(words)) for name, words in RELATIONS.items()]
    rows += [("background", name, ", ".join(words)) for name, words in BACKGROUNDS.items()]
    rows += [("style", name, source) for name, source in STYLES.items()]
    return Listing(("kind", "name", "words"), rows)


def _described(kind: plugins.PluginKind, name: str) -> tuple[str, str]:
    """Options and the first line of the docstring, or why the plug-in cannot be imported."""
    try:
        target = plugins.find(kind, name)
        options = _options(target)
    except (EvalkitError, TypeError, ValueError) as error:
        return "", f"not usable: {getattr(error, 'message', error)}"
    return options, (inspect.getdoc(target) or "").partition("\n")[0]


def _options(target: Any) -> str:
    """The options of a factory with their defaults, the required ones first."""
    required: list[str] = []
    optional: list[str] = []
    for item in inspect.signature(target).parameters.values():
        if item.name in plugins.BOUND:
            continue
        if item.default is not item.empty:
            optional.append(f"{item.name}={item.default!r}")
        elif item.kind is item.KEYWORD_ONLY:
            required.append(item.name)
    return ", ".join([*required, *optional])
