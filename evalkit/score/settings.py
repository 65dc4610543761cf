"""What a folder is scored with: the settings that it has, and those that are given.

A run takes further metrics: those of run.toml and metrics.json are measured again, from cached
features, and new ones are added to both files.
"""

from __future__ import annotations

import logging
import shlex
import tomllib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from evalkit import plugins
from evalkit.config import Options, Value, check_precision, merge, whole_path
from evalkit.core import EvalkitError, MetricRow, Precision
from evalkit.files import write_atomically
from evalkit.hints import did_you_mean
from evalkit.run_config import run_config
from evalkit.run_folder import Run
from evalkit.score.presets import DEFAULT, expand
from evalkit.score.records import MEASURES
from evalkit.score.select import select_from
from evalkit.scorer import Scorer
from evalkit.specs import joined_names, relative_to, split_names

log = logging.getLogger(__name__)
Names = str | Sequence[str] | None  # one text has the names joined by commas; None: not given


class Settings(NamedTuple):
    """What to measure, and with what."""

    metrics: tuple[str, ...] = ()  # () is the usual set
    encoders: str = "auto"
    reference: str | None = None
    models: tuple[str, ...] = ()  # the labels of the compared models; () for all
    precision: Precision = "exact"  # in which the encoders compute
    options: tuple[tuple[str, str, Value], ...] = ()  # of scorers: name, option, value
    asked: tuple[str, ...] = ()  # the metrics that this call names; () for none or the usual set

    def tables(self) -> dict[str, dict[str, Value]]:
        """The options of all scorers, by name."""
        return {name: self.options_of(name) for name, _, _ in self.options}

    def named(self) -> set[str]:
        """The names of the metrics that are asked for: those of the call, else of the run."""
        return set(_by_spec(self.asked or self.metrics).values())

    def options_of(self, scorer: str) -> dict[str, Value]:
        return {option: value for name, option, value in self.options if name == scorer}


def resolve(
    path: Path,
    *,
    metrics: Names = None,
    only: bool = False,
    models: Names = None,
    encoders: Names = None,
    reference: str | None = None,
    options: Options | None = None,
    precision: Precision | None = None,
) -> Settings:
    """The settings of a scoring; what is None was not given and is taken from a run folder.

    Raises EvalkitError for a damaged run.toml, for models that the run does not have, and for an
    unknown precision.
    """
    run, given, chosen = Run(path), expand(_names(metrics)), _names(models)
    options, encoders = options or {}, joined_names(encoders)
    check_precision(precision or "exact")
    if only and not given:
        raise EvalkitError(
            "No metric is named, but only named metrics are to be measured.",
            "Name them, for example `--metrics fid,kid --only`.",
            code="score-25",
        )
    if not run.is_run:
        if chosen:
            raise EvalkitError(
                f"{path} is not a run folder, so it has no models to choose from.",
                "Leave out --models.",
                code="score-26",
            )
        return Settings(
            given,
            encoders or "auto",
            reference,
            options=as_triples(typed(options, given)),
            precision=precision or "exact",
            asked=together((), given),
        )
    known = run.models()
    for label in chosen:
        if label not in known:
            raise EvalkitError(
                f"{path} has no model {label!r}.", did_you_mean(label, known), code="score-27"
            )
    values = run_config(run)
    if not only:
        select_from(run.config_path, values.get("metrics", ()))
    names = together(() if only else measured(run), given)
    return Settings(
        names,
        encoders or values.get("encoders", "auto"),
        reference or values.get("reference"),
        tuple(label for label in known if label in chosen),
        precision or values.get("precision", "exact"),
        as_triples(
            merge(_known_only(run, values.get("scorers", {}), names), typed(options, names))
        ),
        together((), given),
    )


def metrics_of_scorers(metrics: Sequence[str]) -> dict[str, Scorer]:
    """The scorers behind metrics, by the name of the metric."""
    table = [plugins.metric(spec) for spec in expand(metrics) if spec not in MEASURES]
    return {one.name: one.scorer for one in table if one.scorer is not None}


def typed(options: Options, metrics: Sequence[str]) -> Options:
    """The options of scorers with the types that they declare, and with absolute paths.

    Raises EvalkitError for options of what is not among the scorers of these metrics, and for those
    that a scorer does not have.
    """
    if not options:
        return {}
    table = metrics_of_scorers(metrics)
    known = {scorer.name: scorer for scorer in table.values()}
    found: dict[str, dict[str, Value]] = {}
    for name, given in options.items():
        if name not in known:
            if name in table:
                scorer = table[name].name
                raise EvalkitError(
                    f"Options are given for {name!r}, which has none of its own: it takes those of"
                    f" {scorer!r}.",
                    f"Give them to that one: `--set {scorer}.OPTION=…`.",
                    code="score-28",
                )
            missing = name in plugins.names("scorer") or not known
            raise EvalkitError(
                f"Options are given for {name!r}, which is not among the scorers of this run.",
                f"Name it too: `--metrics {name}`." if missing else did_you_mean(name, known),
                code="score-29",
            )
        every = plugins.checked_options(known[name].load, given, name, "scorer", partly=True)
        found[name] = {option: whole_path(option, every[option]) for option in given}
    return found


def _known_only(run: Run, options: Options, metrics: Sequence[str]) -> Options:
    """The options of run.toml without those of what is no scorer, which are mentioned."""
    if not options:
        return options
    known = plugins.scorer_names(metrics)
    for name in options:
        if name not in known:
            log.warning("%s: no scorer is named %r; its options are dropped", run.config_path, name)
    return {name: given for name, given in options.items() if name in known}


def as_triples(options: Options) -> tuple[tuple[str, str, Value], ...]:
    """Options of scorers as (name, option, value), which can be a key."""
    return tuple(
        (name, option, value) for name, given in options.items() for option, value in given.items()
    )


def measured(run: Run) -> tuple[str, ...]:
    """The metrics of a run: those of run.toml, then others of metrics.json; () if there are none.

    Where run.toml names none, a scored run has the usual set.
    """
    named: tuple[str, ...] = run_config(run).get("metrics", ())
    if not run.is_scored:
        return named
    if not named and run.config_path.is_file():
        named = DEFAULT
    try:
        rows = run.metrics()
    except EvalkitError:  # a damaged file is written anew
        return named
    # A scorer without a value is one that could not be loaded, see `keep`.
    measured = {row.metric for row in rows if row.value is not None} | {*plugins.names("metric")}
    more = (row.metric for row in rows if row.metric in measured)
    own = {*_by_spec(named).values()}
    known = plugins.metric_names()
    return (*named, *dict.fromkeys(name for name in more if name in known and name not in own))


def together(old: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """The old metrics in their order, then the new ones; () for the usual set.

    more: as `expand` gives them. What every run has from its records is not new.
    """
    known = expand(old)
    new = [spec for spec in more if spec not in (*known, *MEASURES)] if old else more
    result = (*known, *new) if new else tuple(old)
    return () if result == DEFAULT else result


def keep(
    run: Run,
    chosen: Settings,
    lacking: Collection[str] = (),
    before: Sequence[str] | None = None,
) -> None:
    """Write changed settings to run.toml; its first line, which is a comment, stays.

    Args:
        lacking: the names of metrics whose scorer cannot be loaded. Those that are new are not
            kept: each later scoring would try them again.
        before: the metrics that are not new; None for those of run.toml.
    """
    if not run.config_path.is_file():
        return
    known = run_config(run)
    earlier = known.get("metrics", ()) if before is None else before
    chosen = _without(chosen, set(lacking) - set(_by_spec(earlier).values()))
    changed: dict[str, object] = {}
    if chosen.metrics != known.get("metrics", ()):
        changed["metrics"] = list(chosen.metrics)
    if chosen.encoders != known.get("encoders", "auto"):
        changed["encoders"] = chosen.encoders
    if chosen.precision != known.get("precision", "exact"):
        changed["precision"] = chosen.precision
    if chosen.reference is not None and chosen.reference != known.get("reference"):
        changed["reference"] = relative_to(run.path, chosen.reference)
    if chosen.options != as_triples(known.get("scorers", {})):
        changed["scorer"] = chosen.tables()
    if changed:
        text = run.config_path.read_text(encoding="utf-8")
        first = text.partition("\n")[0]
        comment = f"{first}\n" if first.startswith("#") else ""
        values = tomllib.loads(text) | changed
        written = tomli_w.dumps({key: value for key, value in values.items() if value != {}})
        write_atomically(run.config_path, f"{comment}{written}")


def _without(chosen: Settings, names: Collection[str]) -> Settings:
    """The settings without metrics of these names, and without options that only these have."""
    by_spec = _by_spec(chosen.metrics)
    left = [spec for spec, name in by_spec.items() if name not in names]
    gone = [spec for spec in by_spec if spec not in left]
    if not gone:
        return chosen
    used, unused = (
        {one.name for one in metrics_of_scorers(some).values()} for some in (left, gone)
    )
    options = tuple(one for one in chosen.options if one[0] in used or one[0] not in unused)
    return chosen._replace(metrics=together((), left), options=options)


def _by_spec(specs: Sequence[str]) -> dict[str, str]:
    """The metrics that are meant, each with its name."""
    meant = expand(specs)
    return {spec: plugins.metric(spec).name if ":" in spec else spec for spec in meant}


def mention_old_report(run: Run, before: Sequence[MetricRow], rows: Sequence[MetricRow]) -> None:
    """A line in the log if the folder has a report or figures of other numbers."""
    if list(before) == list(rows):
        return
    for what, verb, it, made in (
        ("report", "is", "it", run.report_path / "index.html"),
        ("figures", "are", "them", run.path / "figures"),
    ):
        if made.exists():
            command = f"evalkit {what} {shlex.quote(str(run.path))}"
            said = f"the {what} of {run.path} {verb} older than these values; renew {it} with"
            log.info("%s `%s`", said, command)


def rows_of(run: Run) -> list[MetricRow]:
    """The rows of metrics.json; [] if it is missing or damaged."""
    try:
        return run.metrics()
    except EvalkitError:
        return []


def _names(given: Names) -> tuple[str, ...]:
    several: Any = split_names(given) if isinstance(given, str) else given or ()
    names = tuple(several) if isinstance(several, Iterable) else (several,)
    if not all(isinstance(one, str) for one in names):
        raise EvalkitError(
            f"Metrics or models are {given!r:.80}; expected names, as a text or a list of texts.",
            "For example `metrics=['fid', 'kid']`.",
            code="score-35",
        )
    return names
