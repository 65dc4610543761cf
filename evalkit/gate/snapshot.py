"""One model of a run as the gate sees it: values, and what their paired differences need.

For a metric with one value per image, these are the values. For a property of the set (FID, recall)
they are its values without each of the groups of prompts, from which the jackknife of a difference
follows: the groups are the same for every model that has images of the same prompts. So a snapshot
of a run is small, and needs neither its images nor its features.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from evalkit import plugins
from evalkit.config import did_you_mean
from evalkit.core import DISTRIBUTION, EvalkitError, Measure, Metric, MetricRow
from evalkit.features.image_sets import ImageSet, image_sets
from evalkit.features.validation import OnBad
from evalkit.gate.conditions import of_generation, of_metrics, requests_of
from evalkit.gate.measurements import Loaded, Measurements, measurements
from evalkit.prompts.perturb import originals_of
from evalkit.run_config import lost_models
from evalkit.run_folder import Run
from evalkit.score import protocol, records
from evalkit.score.evidence import Evidence, Setup
from evalkit.score.measure import measure
from evalkit.score.resources import blind_encoders, only_bundled
from evalkit.score.select import select, select_from
from evalkit.score.settings import measured as scored_with
from evalkit.specs import split_run

Key = tuple[str, int]  # id of the prompt, sample
BLACK = Measure(
    "black_rate", "lower", "Black images", "Share of black images.", range=(0.0, 1.0),
    from_records=True,
)  # fmt: skip

MISSING = Measure(
    "missing_rate", "lower", "Missing images",
    "Share of requested images that are neither usable nor refused.", range=(0.0, 1.0),
    from_records=True,
)  # fmt: skip
SHARPNESS = Measure(
    "sharpness", "higher", "Sharpness",
    "Mean size of the Laplacian of the grey image, in values of 0 to 255.", range=(0.0, math.inf),
    from_records=True,
)  # fmt: skip
_OWN = (BLACK.name, MISSING.name, SHARPNESS.name)


@dataclass(frozen=True)
class State:
    """One metric of one model."""

    measure: Measure
    encoder: str
    reference: str
    value: float | None  # None: not measured, and `note` gives the reason
    low: float | None = None  # the 95% interval of the value
    high: float | None = None
    note: str = ""
    values: tuple[float, ...] | None = None  # one per image or request, in the order of `keys`
    left_out: tuple[float, ...] | None = None  # without each group of prompts
    left_out_pairs: tuple[float, ...] | None = None  # without each two groups
    keys: tuple[Key, ...] = ()  # the images, or requests, in the order of prompts and samples
    scored: bool = False  # whether the values are those of a scorer
    unanswered: str = ""  # of a scorer: the images without an answer, in words
    of_real: float | None = None  # the finite-sample baseline: the value of as many real images


@dataclass(frozen=True)
class Snapshot:
    """One model of a run."""

    name: str  # `reports/main:dalle`
    model: str
    prompts: Mapping[str, str]  # id -> text
    groups: Mapping[str, str]  # id -> group of the prompt, "" for none
    conditions: Mapping[str, Any]  # what must be the same for a comparison
    states: Mapping[str, State]  # by name of the metric
    version: str  # of evalkit
    saved_from: str = ""  # of a baseline file: its name when it was saved
    blind: tuple[str, ...] = ()  # encoders that do not know the images: nothing may be concluded
    images: tuple[tuple[str, int, str], ...] = ()  # prompt, sample, and SHA-256 of each image


def take(
    text: str,
    metrics: Sequence[str] | None = None,
    keys: Sequence[Key] | None = None,
    loaded: Loaded | None = None,
) -> Snapshot:
    """The snapshot of a model of a scored run.

    Args:
        text: `RUN` if it has one model, else `RUN:LABEL`.
        metrics: names; None for those that the run was scored with.
        keys: the images to measure, in this order; None for all, in the order of the run.
        loaded: encoders and references by what they were loaded for; the caller keeps it, so that
            several snapshots load them once.

    Raises:
        EvalkitError: no scored run, no such model or metric, or an encoder that cannot be loaded.
    """
    path, label = split_run(text)
    run = Run(path)
    label = _label(run, label, text)
    if run.is_stale(label):
        raise EvalkitError(
            f"The images of {label!r} in {run.path} are not those that were scored.",
            f"Run `evalkit score {shlex.quote(str(run.path))}`.",
            code="gate-54",
        )
    rows, known = run.metrics(), run.protocol()
    scored = list(dict.fromkeys(row.metric for row in rows))
    others = {*records.MEASURES, *_OWN, *(row.metric for row in rows if ":" in row.encoder)}
    names = scored if metrics is None else metrics
    # A metric of `module:function` has a shorter name in the table.
    own = {plugins.metric(spec).name: spec for spec in scored_with(run) if ":" in spec}
    specs = [own.get(name, name) for name in names if name not in others]
    table = select(specs) if specs else []
    skipped = known.get("counts", {}).get(label, {}).get("skipped", 0)
    on_bad: OnBad = "skip" if skipped else "refuse"
    _, [images], _ = image_sets(run.path, on_bad, (label,))
    images, prompts = images.originals(), run.prompts()  # as the rows of all prompts are
    ids, variants = [prompt.id for prompt in prompts], originals_of(prompts)
    prompts = [prompt for at, prompt in enumerate(prompts) if at not in variants]
    places = {(ids[one.index], one.sample): at for at, one in enumerate(images.records)}
    order = None if keys is None else [places[key] for key in keys if key in places]
    taken = tuple(places) if order is None else tuple(key for key in keys or () if key in places)
    found = measurements(run, images, specs, table, order, {} if loaded is None else loaded)
    states = {metric.name: _state(metric, found, taken) for metric in table}
    states |= _of_records(images, requests_of(run, images.all_records), ids, order)
    for row in rows:
        if row.model == label and row.baseline is not None and row.metric in states:
            states[row.metric] = replace(states[row.metric], of_real=row.baseline)
    states |= _of_ratings([row for row in rows if row.model == label], known)
    return Snapshot(
        name=f"{path}:{label}",
        model=label,
        prompts={prompt.id: prompt.text for prompt in prompts},
        groups={prompt.id: prompt.group for prompt in prompts},
        conditions=of_generation(run, label, images.all_records, images.findings()["sizes"])
        | of_metrics(found.facts, table),
        states=states,
        version=version(DISTRIBUTION),
        blind=tuple(blind_encoders(found.encoder_names, only_bundled(run, run.models()))),
        images=tuple((ids[one.index], one.sample, one.sha256) for one in images.records),
    )


def _label(run: Run, label: str, text: str) -> str:
    if not run.path.is_dir():
        raise EvalkitError(
            f"There is no run folder {run.path}.",
            "Give RUN or RUN:LABEL; a baseline file has a name that ends with .json.",
            code="gate-55",
        )
    known = run.models()
    run.metrics()  # raises where the run was not scored
    lost = lost_models(run)
    every = [*known, *lost]
    if not label:
        if len(every) != 1:
            raise EvalkitError(
                f"{run.path} has {len(every)} models; a gate tests one of them.",
                f"Name it: {' or '.join(f'`{text}:{name}`' for name in known[:4])}.",
                code="gate-56",
            )
        [label] = every
    if label in lost:
        again = f"evalkit run --config {shlex.quote(str(run.config_path))}"
        raise EvalkitError(
            f"{run.path}: {lost[label]}", f"Make its images again with `{again}`.", code="gate-57"
        )
    if label not in known:
        raise EvalkitError(
            f"{run.path} has no model {label!r}.", did_you_mean(label, known), code="gate-58"
        )
    return label


def state_of(
    metric: Metric, evidence: Mapping[Any, Evidence], keys: tuple[Key, ...], setup: Setup
) -> State:
    """A metric on the images of the evidence, whose keys are given."""
    facts = protocol.encoder_facts(setup.encoders), protocol.reference_facts(setup.references)
    own = evidence.get(metric.encoder)
    values = {} if own is None else {metric.name: measure(metric, own)}
    made = Measurements(values, dict(zip(("encoders", "references"), facts, strict=True)))
    return _state(metric, made, keys)


def _state(metric: Metric, made: Measurements, keys: tuple[Key, ...]) -> State:
    encoder, reference = made.names(metric)
    found = made.values.get(metric.name)
    if found is None:
        why = "there are no images" if encoder else "its encoder is missing"
        return State(metric.measure, encoder, reference, None, note=f"not measured: {why}")
    values = None if found.per_image is None else tuple(map(float, found.per_image))
    if found.sample is not None:
        keys = tuple(keys[place] for place in found.sample)
        values = None if values is None else tuple(values[place] for place in found.sample)
    elif values is not None and found.unanswered:  # a scorer has no answer on some images
        known = [(one, key) for one, key in zip(values, keys, strict=True) if one == one]
        values, keys = tuple(one for one, _ in known), tuple(key for _, key in known)
    left_out, pairs = (
        None if one is None else tuple(one.tolist())
        for one in (found.left_out, found.left_out_pairs)
    )
    interval = found.interval
    return State(
        metric.measure, encoder, reference, found.value, interval.low, interval.high,
        found.note if found.value is None else interval.method, values, left_out, pairs, keys,
        metric.scorer is not None, found.why_unanswered,
    )  # fmt: skip


def _of_records(
    images: ImageSet,
    requests: Sequence[tuple[int, int]],
    ids: Sequence[str],
    order: Sequence[int] | None,
) -> dict[str, State]:
    """Refusals, missing and black images one by one; speed, memory and cost as numbers only."""
    states: dict[str, State] = {}
    rows = images.all_records
    for row in records.rows(images.model, rows, images.requested):
        measure_, note = records.MEASURES[row.metric], row.note
        states[row.metric] = State(measure_, "", "", row.value, row.low, row.high, note)
    asked = [record for record in rows if record.status != "missing"]
    if asked:
        refused = tuple(float(record.status.startswith("refused")) for record in asked)
        places = tuple((ids[record.index], record.sample) for record in asked)
        old = states["refusal_rate"]
        states["refusal_rate"] = replace(old, values=refused, keys=places)
    present = {(record.index, record.sample) for record in images.records}
    present |= {(one.index, one.sample) for one in rows if one.status.startswith("refused")}
    lost = tuple(float(request not in present) for request in requests)
    if requests:
        places = tuple((ids[index], sample) for index, sample in requests)
        value = float(np.mean(lost))
        states[MISSING.name] = State(MISSING, "", "", value, values=lost, keys=places)
    if order != [] and images.files:
        chosen = images if order is None else images.keep(order)
        facts = chosen.validation.complete(chosen.files)
        black = tuple(float(fact.black) for fact in facts)
        places = tuple((ids[record.index], record.sample) for record in chosen.records)
        states[BLACK.name] = State(BLACK, "", "", float(np.mean(black)), values=black, keys=places)
        sharp = tuple(fact.sharpness for fact in facts)
        value = float(np.mean(sharp))
        states[SHARPNESS.name] = State(SHARPNESS, "", "", value, values=sharp, keys=places)
    return states


def _of_ratings(rows: Sequence[MetricRow], protocol: Mapping[str, Any]) -> dict[str, State]:
    """Values of raters, under `metric@who:question`, as several questions have one metric."""
    stated = protocol.get("measures", {})
    states = {}
    for row in rows:
        if stated.get(row.metric, {}).get("from_ratings"):
            measure_ = Measure(row.metric, row.better, from_ratings=True)
            names = row.encoder, row.reference
            note = row.interval or row.note
            states[f"{row.metric}@{row.encoder}"] = State(
                measure_, *names, row.value, row.low, row.high, note
            )
    return states


def outline(run: Run, label: str) -> Snapshot:
    """A model of a scored run without its values, from the files of the run.

    It is what `comparable.mismatches` reads. No encoder is loaded; nothing is measured or written.

    Raises EvalkitError if the run, or this model, was not scored, or a file is damaged.
    """
    checks, known, prompts = run.image_checks(), run.protocol_of_scores(), run.prompts()
    if not run.metrics() or label not in checks:
        raise EvalkitError(
            f"{run.path} has no scores of {label!r}.",
            f"Run `evalkit score {run.path}`.",
            code="gate-59",
        )
    sizes = checks[label].get("sizes", {})
    facts = {**known, "encoded_on": known.get("encoded_on", {}).get(label, {})}
    return Snapshot(
        name=f"{run.path}:{label}",
        model=label,
        prompts={prompt.id: prompt.text for prompt in prompts},
        groups={prompt.id: prompt.group for prompt in prompts},
        conditions=of_generation(run, label, run.records(label), sizes)
        | of_metrics(facts, select_from(run.config_path, scored_with(run))),
        states={},
        version=known.get("versions", {}).get("evalkit") or "",
    )
