"""`evalkit compare`: the models of several runs in one run folder, measured and compared together.

The result is an ordinary run: report, gate, rating pages and data frames take it. Images, records
and cached features come from the given runs, which are never changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.compare.assemble import Shared, assemble, check_images, digest, link_features, shared
from evalkit.compare.conditions import (
    Difference,
    differences,
    not_recorded,
    require_allowed,
    shared_settings,
)
from evalkit.compare.entries import Entry, Runs, read_entries
from evalkit.core import EvalkitError
from evalkit.ratings.files import ratings_of
from evalkit.report.report import report
from evalkit.results import Run
from evalkit.score.score import score
from evalkit.score.settings import Settings, rows_of
from evalkit.specs import relative_to, spelled_as_path

log = logging.getLogger(__name__)


def compare(
    runs: Runs,
    *,
    out: str | os.PathLike[str] | None = None,
    allow_mismatch: str | Sequence[str] | None = None,
) -> Run:
    """Compare the models of several scored runs; returns the run folder with all of them.

    The runs must have been made and scored under the same conditions (see
    docs/concepts/comparability.md). Each model is measured on the prompts and metrics that all runs
    have; what is left out is named in sources.json, protocol.json and the report. The same call
    again does nothing; where a run has changed since, the folder is made again.

    Args:
        runs: `RUN` for all scored models of a run, `RUN:LABEL` for one, `NAME=RUN:LABEL` to give
            it another name.
        out: the folder to write; the default is one in `reports/` that the same call finds again.
        allow_mismatch: conditions that may differ; each is recorded in every output.

    Raises:
        EvalkitError: fewer than two runs, runs that are not scored or have nothing in common,
            images that are gone, a folder that holds something else (exit code 2); conditions that
            differ (exit code 4).

    Warns:
        IncompleteRunWarning: a model has no image at all, or black images only.
    """
    entries = read_entries(runs)
    allowed = [allow_mismatch] if isinstance(allow_mismatch, str) else list(allow_mismatch or ())
    found = differences(entries)
    require_allowed(found, allowed)
    common, (settings, on_bad, left_out) = shared(entries), shared_settings(entries)
    run = Run(out if out is not None else _default_out(entries))
    _check_out(run, entries)
    sources = _sources(run, entries, common, found, _notes(entries, common, left_out))
    earlier = run.sources()
    same = {**earlier, "measured": ""} == {"schema": 1, **sources, "measured": ""}
    same = same and run.prompts_path.is_file()
    check_images(entries, common, on_bad)  # before anything is said about them
    for difference in sources["allowed"]:
        log.warning("the runs differ, which was allowed: %s", difference)
    for note in sources["notes"][1:]:
        log.warning(note)
    if not same:
        assemble(run, entries, common, sources, settings, on_bad)
    elif earlier.get("measured") != sources["measured"]:
        run.begin_scoring()  # first: an interrupted call is not up to date
        run.write_sources(sources)
        link_features(run, entries)
    elif _is_scored(run, entries, settings) and (run.report_path / "index.html").is_file():
        log.info("%s is up to date", run.path)
        return run
    score(
        run.path,
        metrics=settings.metrics,
        encoders=settings.encoders,
        precision=settings.precision,
        reference=settings.reference,
        on_bad=on_bad,
    )
    _mention_other_values(run, entries)
    report(run.path)
    return run


def _default_out(entries: Sequence[Entry]) -> Path:
    """`reports/<run>-<run>-<hash>`."""
    words = "-".join(dict.fromkeys(entry.place.name for entry in entries)).lower()
    plain = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60]
    identity = json.dumps([[str(entry.place), entry.label, entry.name] for entry in entries])
    return Path("reports") / f"{plain}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _check_out(run: Run, entries: Sequence[Entry]) -> None:
    """Refuse a folder that is one of the inputs, or has other content."""
    place = Path(os.path.realpath(run.path))
    for entry in entries:
        if place.is_relative_to(entry.place) or entry.place.is_relative_to(place):
            raise EvalkitError(
                f"The comparison cannot be written to {run.path}: this folder is the compared run"
                f" {entry.run.path}, is inside of it, or contains it.",
                "Choose another --out.",
                code="compare-5",
            )
    if place.exists() and not place.is_dir():
        raise EvalkitError(
            f"{run.path} is a file; expected a folder.", "Choose another --out.", code="compare-6"
        )
    if place.is_dir() and not run.sources_path.is_file():
        other = [item.name for item in place.iterdir() if not item.name.startswith(".")]
        if other:
            raise EvalkitError(
                f"{run.path} is not empty and is not a comparison: it holds {min(other)}.",
                "Choose another --out.",
                code="compare-7",
            )


def _notes(
    entries: Sequence[Entry],
    common: Shared,
    left_out: Mapping[str, Sequence[str]],
) -> list[str]:
    """Where the models come from and what is left out, in sentences."""
    runs = {entry.place: entry.run for entry in entries}
    listed = (
        (f"{e.name} is {e.label}" if e.name != e.label else e.name) + f" of {e.run.path}"
        for e in entries
    )
    notes = [
        f"The models come from several runs: {'; '.join(listed)}. Their times, memory and costs are"
        " those of these runs."
    ]
    for run in runs.values():
        asked = len(run.prompts())
        if asked > len(common.prompts):
            notes.append(
                f"{len(common.prompts)} of the {asked} prompts of {run.path} are compared: those"
                " that all runs have."
            )
        if run.ratings_path.is_dir() and ratings_of(run):
            notes.append(
                f"The ratings of {run.path} are left out: its raters did not see the other models."
            )
    if unknown := not_recorded(entries):
        notes.append(f"Not checked, as not every run records it: {', '.join(unknown)}.")
    if any(entry.outline.conditions["per_prompt"] > common.per_prompt for entry in entries):
        notes.append(f"Of each prompt, the first {common.per_prompt} images are compared.")
    kept = [prompt.id for prompt in common.prompts]
    groups = {tuple(map(entry.outline.groups.__getitem__, kept)) for entry in entries}
    if len(groups) > 1:
        notes.append(
            f"The runs have other groups of prompts: those of {entries[0].run.path} are used."
        )
    notes += [
        f"{name} is left out: not measured in {', '.join(lack)}." for name, lack in left_out.items()
    ]
    return notes + _same_images(entries, common)


def _same_images(entries: Sequence[Entry], common: Shared) -> list[str]:
    seen: dict[tuple[tuple[int, int, str], ...], str] = {}
    notes = []
    for entry in entries:
        if entry.run.protocol().get("counts", {}).get(entry.label, {}).get("skipped"):
            continue  # not all of its images are compared
        images = tuple((new.index, new.sample, new.sha256) for _, new in common.records(entry))
        if (other := seen.setdefault(images, entry.name)) != entry.name and images:
            notes.append(f"{other} and {entry.name} have the same images, byte for byte.")
    return notes


def _sources(
    run: Run,
    entries: Sequence[Entry],
    common: Shared,
    found: Sequence[Difference],
    notes: Sequence[str],
) -> dict[str, Any]:
    """The content of sources.json; it changes with every image and prompt of the runs."""
    return {
        "models": {
            entry.name: {
                "run": relative_to(run.path, spelled_as_path(str(entry.place))),
                "label": entry.label,
                "seed": entry.outline.conditions["seed"],
                "images": digest(new for _, new in common.records(entry)),
            }
            for entry in entries
        },
        "prompts": hashlib.sha256(repr(common.prompts).encode("utf-8", "replace")).hexdigest(),
        "allowed": [
            *(str(one) for one in found),
            *dict.fromkeys(
                one for entry in entries for one in entry.run.sources().get("allowed", ())
            ),
        ],
        "measured": _measured_with(entries),
        "notes": list(notes),
    }


def _measured_with(entries: Sequence[Entry]) -> str:
    """SHA-256 of the encoders, references and options of metrics with which the runs are scored."""
    protocols = [entry.run.protocol() for entry in entries]
    facts = [
        {part: protocol.get(part) for part in ("encoders", "references", "options")}
        for protocol in protocols
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_scored(run: Run, entries: Sequence[Entry], settings: Settings) -> bool:
    """Whether the folder has a row for each model and each metric of the runs."""
    rows = {(row.model, row.metric) for row in rows_of(run)}
    names = {row.metric for entry in entries for row in entry.run.metrics()}
    measured = {metric for metric in names if {metric} & {*settings.metrics}}
    return {(entry.name, metric) for entry in entries for metric in measured} <= rows


def _mention_other_values(run: Run, entries: Sequence[Entry]) -> None:
    """A line for values that are not those of the model's own run, on as many images."""
    here = {(r.model, r.metric): r for r in run.metrics() if r.on == "answered" and not r.group}
    for entry in entries:
        changed = []
        for row in entry.run.metrics():
            new = here.get((entry.name, row.metric))
            same_kind = row.model == entry.label and row.on == "answered" and not row.group
            if not (new and same_kind and new.count == row.count) or new.value is None:
                continue
            if row.value is None or not math.isclose(new.value, row.value, rel_tol=1e-3):
                changed.append(row.metric)
        if changed:
            log.warning(
                "%s: other values than in %s, as versions, encoders or references differ: %s",
                *(entry.name, entry.run.path, ", ".join(dict.fromkeys(changed))),
            )
