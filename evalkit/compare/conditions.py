"""What must agree before models of several runs are compared, and what they are measured with."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from evalkit import plugins
from evalkit.compare.entries import Entry
from evalkit.core import EvalkitError
from evalkit.encoders.select import is_installed
from evalkit.features.validation import OnBad
from evalkit.gate.comparable import NOT_COMPARABLE, mismatches, require_comparable, unchecked
from evalkit.gate.snapshot import Snapshot
from evalkit.score.records import MEASURES
from evalkit.score.settings import Settings, measured, resolve


@dataclass(frozen=True)
class Difference:
    """A condition that differs between runs."""

    field: str
    values: dict[str, str] = dataclasses.field(default_factory=dict)  # name of the model -> value

    def __str__(self) -> str:
        by_value: dict[str, list[str]] = {}
        for name, value in self.values.items():
            by_value.setdefault(value, []).append(name)
        parts = (f"{value} ({', '.join(names)})" for value, names in by_value.items())
        return f"{self.field}: {', '.join(parts)}"


def differences(entries: Sequence[Entry]) -> list[Difference]:
    """All conditions in which models of different runs differ."""
    found: dict[str, Difference] = {}
    for a, b in _pairs(entries):
        for one in mismatches(*_on_shared_options(a, b)):
            values = found.setdefault(one.field, Difference(one.field)).values
            values |= {a.name: one.candidate, b.name: one.baseline}
    if "prompts" in found:  # of a pair, it says how many are the same
        values = found["prompts"].values
        values |= {e.name: f"{len(e.outline.prompts)} prompts" for e in entries}
    return list(found.values())


def not_recorded(entries: Sequence[Entry]) -> list[str]:
    """The conditions that are not checked, as one of two runs does not record them."""
    pairs = (_on_shared_options(a, b) for a, b in _pairs(entries))
    return list(dict.fromkeys(one.field for pair in pairs for one in unchecked(*pair)))


def _pairs(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Models of different runs; those of one run are compared by it already."""
    return [(a, b) for a, b in itertools.combinations(entries, 2) if a.place != b.place]


def _on_shared_options(a: Entry, b: Entry) -> tuple[Snapshot, Snapshot]:
    """The outlines of two models; of unlike generators, with the options that both have.

    `dalle` has top_k and `gan` has none: that is what the two are, not how they were used.
    """
    if a.spec == b.spec:
        return a.outline, b.outline
    one, other = (dict(entry.outline.conditions["generation"]) for entry in (a, b))
    both = one.keys() & other.keys()
    first, second = (
        replace(
            entry.outline,
            conditions={
                **entry.outline.conditions,
                "generation": {key: options[key] for key in sorted(both)},
            },
        )
        for entry, options in ((a, one), (b, other))
    )
    return first, second


def require_allowed(found: Sequence[Difference], allowed: Collection[str]) -> None:
    """Raise EvalkitError, exit code 4, for conditions that differ and are not allowed to.

    allowed: fields, or `field.key`. Raises EvalkitError, exit code 2, for an unknown field.
    """
    require_comparable([], allowed)
    wrong = [one for one in found if not {one.field, one.field.partition(".")[0]} & {*allowed}]
    if wrong:
        fields = dict.fromkeys(one.field.partition(".")[0] for one in wrong)
        flags = " ".join(f"--allow-mismatch {name}" for name in fields)
        raise EvalkitError(
            f"The runs are not comparable. {'; '.join(map(str, wrong))}.",
            "Make and score all of them under the same conditions. To compare them anyway:"
            f" `{flags}`.",
            NOT_COMPARABLE,
            code="compare-8",
        )


def shared_settings(entries: Sequence[Entry]) -> tuple[Settings, OnBad, dict[str, list[str]]]:
    """What all models are measured with, how invalid images are treated, and what is left out.

    The metrics are those that every run has; encoders and reference are those of the first run
    that has some. Left out: metric -> the runs that do not have it.

    Raises EvalkitError if the runs have no metric in common.
    """
    runs = list({entry.place: entry.run for entry in entries}.values())
    tables = [[row for row in run.metrics() if _of_images(row.metric, row.encoder)] for run in runs]
    every = dict.fromkeys(row.metric for rows in tables for row in rows)
    lacking = {
        metric: [
            str(run.path)
            for run, rows in zip(runs, tables, strict=True)
            if metric not in {row.metric for row in rows}
        ]
        for metric in every
    }
    common = [metric for metric, lack in lacking.items() if not lack]
    if not common:
        own = (
            f"{run.path} has {', '.join(dict.fromkeys(row.metric for row in rows)) or 'none'}"
            for run, rows in zip(runs, tables, strict=True)
        )
        raise EvalkitError(
            f"The runs have no metric in common: {'; '.join(own)}.",
            f"Score them with the same metrics: `evalkit score {runs[0].path} --metrics …`.",
            code="compare-9",
        )
    # A metric of `module:function` has a shorter name in the table.
    specs = {plugins.metric(s).name: s for run in runs for s in measured(run) if ":" in s}
    encoders: dict[str, None] = {}
    for metric in common:
        if plugins.metric(specs.get(metric, metric)).scorer is not None:
            continue  # it is its own encoder
        used = [row.encoder for rows in tables for row in rows if row.metric == metric]
        encoders |= dict.fromkeys([*filter(None, used)][:1])
    [first, *_] = [run for run in runs if run.protocol().get("references")] or runs
    settings = resolve(first.path)
    if encoders and all(is_installed(name) or ":" in name for name in encoders):
        # Each name says in which precision the encoder computes.
        settings = settings._replace(encoders=",".join(encoders), precision="exact")
    settings = settings._replace(metrics=tuple(specs.get(metric, metric) for metric in common))
    skipped = any(
        entry.run.protocol().get("counts", {}).get(entry.label, {}).get("skipped", 0)
        for entry in entries
    )
    left_out = {metric: lack for metric, lack in lacking.items() if lack}
    return settings, "skip" if skipped else "refuse", left_out


def _of_images(metric: str, encoder: str) -> bool:
    """Whether a row is measured on images: not on records, and not by raters (`human:question`)."""
    return metric not in MEASURES and not encoder.startswith(("human:", "model:"))
