"""One model of a run as the gate sees it: values, and what their paired differences need.

For a metric with one value per image, these are the values. For a property of the set (FID, recall)
they are its values without each of the groups of prompts, from which the jackknife of a difference
follows: the groups are the same for every model that has images of the same prompts. So a snapshot
of a run is small, and needs neither its images nor its features.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import plugins
from evalkit.config import did_you_mean, read_values
from evalkit.core import EvalkitError, Measure, Metric, MetricRow, Record
from evalkit.features.image_sets import ImageSet, image_sets
from evalkit.features.validation import OnBad
from evalkit.run_folder import Run
from evalkit.score import records
from evalkit.score.evidence import Evidence, Setup, encode_prompts, gather, part
from evalkit.score.measure import measure
from evalkit.score.resources import load, only_bundled
from evalkit.score.settings import measured as scored_with
from evalkit.score.settings import resolve

Key = tuple[str, int]  # id of the prompt, sample
# Options that say which model it is, not how it generates: a gate compares checkpoints.
WHICH_MODEL = ("weights", "checkpoint", "model", "revision", "lora", "base_url")
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
    keys: tuple[Key, ...] = ()  # the images, or requests, in the order of prompts and samples


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
    blind: tuple[str, ...] = ()  # encoders that do not know the images: nothing may be concluded


def split_name(text: str) -> tuple[Path, str]:
    """`reports/main:dalle` -> (reports/main, dalle); the label may be left out."""
    if Path(text).expanduser().exists() or ":" not in text:
        return Path(text), ""
    path, _, label = text.rpartition(":")
    return Path(path), label


def take(
    text: str, metrics: Sequence[str] | None = None, keys: Collection[Key] | None = None
) -> Snapshot:
    """The snapshot of a model of a scored run.

    Args:
        text: `RUN` if it has one model, else `RUN:LABEL`.
        metrics: names; None for those that the run was scored with.
        keys: the images to measure; None for all.

    Raises:
        EvalkitError: no scored run, no such model or metric, or an encoder that cannot be loaded.
    """
    path, label = split_name(text)
    run = Run(path)
    label = _label(run, label, text)
    rows = run.metrics()
    scored = list(dict.fromkeys(row.metric for row in rows))
    names = scored if metrics is None else metrics
    wanted = [name for name in names if name not in (*records.MEASURES, *_OWN)]
    known = run.protocol()
    encoders = dict.fromkeys(entry["name"] for entry in known.get("encoders", {}).values())
    skipped = known.get("counts", {}).get(label, {}).get("skipped", 0)
    on_bad: OnBad = "skip" if skipped else "refuse"
    rated = {row.metric for row in rows if ":" in row.encoder}
    measured = [name for name in wanted if name not in rated]
    # A metric of `module:function` has a shorter name in the table.
    own = {plugins.metric(spec).name: spec for spec in scored_with(run) if ":" in spec}
    chosen = resolve(
        path,
        metrics=[own.get(name, name) for name in measured] or ["fid"],  # some name is needed
        only=True,
        models=[label],
        encoders=",".join(encoders) or None,
    )
    found = load(chosen, only_bundled(run, run.models()))
    _, [images], texts = image_sets(path, on_bad, (label,))
    table = [metric for metric in found.metrics if metric.name in measured]
    setup = Setup(
        run, table, found.choice.encoders, found.references, found.why,
        encode_prompts(run, texts, table, found.choice.encoders), 32,
    )  # fmt: skip
    prompts = run.prompts()
    ids = [prompt.id for prompt in prompts]
    made = [(ids[record.index], record.sample) for record in images.records]
    order = [at for _, at in sorted((key, at) for at, key in enumerate(made))]
    if keys is not None:
        order = [at for at in order if made[at] in keys]
    evidence = {kind: part(one, order) for kind, one in gather(images, setup).items() if order}
    ordered = tuple(made[at] for at in order)
    states = {metric.name: state_of(metric, evidence, ordered, setup) for metric in table}
    states |= _of_records(images, run.records(label), ids, ordered, order)
    states |= _of_ratings([row for row in rows if row.model == label], known)
    return Snapshot(
        name=f"{path}:{label}",
        model=label,
        prompts={prompt.id: prompt.text for prompt in prompts},
        groups={prompt.id: prompt.group for prompt in prompts},
        conditions=_conditions(run, label, images, setup, table),
        states=states,
        version=version("evalkit"),
        blind=tuple(found.blind),
    )


def _label(run: Run, label: str, text: str) -> str:
    if not run.path.is_dir():
        raise EvalkitError(
            f"There is no run folder {run.path}.",
            "Give RUN or RUN:LABEL; a baseline file has a name that ends with .json.",
        )
    known = run.models()
    run.metrics()  # raises where the run was not scored
    if label and label not in known:
        raise EvalkitError(f"{run.path} has no model {label!r}.", did_you_mean(label, known))
    if not label and len(known) != 1:
        raise EvalkitError(
            f"{run.path} has {len(known)} models; a gate is about one of them.",
            f"Name it: {' or '.join(f'`{text}:{name}`' for name in known[:4])}.",
        )
    return label or known[0]


def state_of(
    metric: Metric, evidence: Mapping[Any, Evidence], keys: tuple[Key, ...], setup: Setup
) -> State:
    """A metric on the images of the evidence, whose keys are given."""
    encoder = setup.encoders.get(metric.encoder)
    reference = setup.references.get(metric.encoder) if metric.compares else None
    names = encoder.name if encoder else "", reference.name if reference else ""
    own = evidence.get(metric.encoder)
    if own is None:
        why = "there are no images" if encoder else "its encoder is missing"
        return State(metric.measure, *names, None, note=f"not measured: {why}")
    found = measure(metric, own)
    values = None if found.per_image is None else tuple(map(float, found.per_image))
    left_out = None if found.left_out is None else tuple(found.left_out.tolist())
    interval = found.interval
    return State(
        metric.measure, *names, found.value, interval.low, interval.high,
        found.note if found.value is None else interval.method, values, left_out, keys,
    )  # fmt: skip


def _of_records(
    images: ImageSet,
    rows: Sequence[Record],
    ids: Sequence[str],
    keys: tuple[Key, ...],
    order: Sequence[int],
) -> dict[str, State]:
    """Refusals, missing and black images one by one; speed, memory and cost as numbers only."""
    states: dict[str, State] = {}
    for row in records.rows(images.model, rows, images.requested):
        measure_, note = records.MEASURES[row.metric], row.note
        states[row.metric] = State(measure_, "", "", row.value, row.low, row.high, note)
    asked = [record for record in rows if record.status != "missing"]
    if asked:
        refused = tuple(float(record.status.startswith("refused")) for record in asked)
        places = tuple((ids[record.index], record.sample) for record in asked)
        old = states["refusal_rate"]
        states["refusal_rate"] = replace(old, values=refused, keys=places)
    usable = {(record.index, record.sample) for record in images.records}
    lost = tuple(
        float((one.index, one.sample) not in usable and not one.status.startswith("refused"))
        for one in rows
    )
    if rows:
        places = tuple((ids[record.index], record.sample) for record in rows)
        value = float(np.mean(lost))
        states[MISSING.name] = State(MISSING, "", "", value, values=lost, keys=places)
    if order:
        facts = images.validation.complete(images.files)
        black = tuple(float(facts[at].black) for at in order)
        states[BLACK.name] = State(BLACK, "", "", float(np.mean(black)), values=black, keys=keys)
        sharp = tuple(facts[at].sharpness for at in order)
        value = float(np.mean(sharp))
        states[SHARPNESS.name] = State(SHARPNESS, "", "", value, values=sharp, keys=keys)
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


def _conditions(
    run: Run, label: str, images: ImageSet, setup: Setup, table: Sequence[Metric]
) -> dict[str, Any]:
    """What a difference between two models may not depend on."""
    config = read_values(run.config_path) if run.config_path.is_file() else {}
    options = dict(config.get("options", {}).get(label, {}))
    sizes = images.findings()["sizes"]
    kinds = {metric.encoder for metric in table}
    return {
        "seed": config.get("seed", 0),
        "per_prompt": 1 + max((record.sample for record in images.all_records), default=0),
        "generation": {
            name: value
            for name, value in sorted(options.items())
            if name not in WHICH_MODEL and value not in (None, "")
        },
        "image_size": sorted(sizes),
        "encoders": {
            kind: f"{one.name} {one.fingerprint}"
            for kind, one in sorted(setup.encoders.items())
            if kind in kinds
        },
        "references": {
            kind: f"{one.name} {one.image_hash}"
            for kind, one in sorted(setup.references.items())
            if kind in kinds
        },
        "metric_options": {metric.name: metric.options for metric in table if metric.options},
    }
