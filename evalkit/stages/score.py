"""The stage that scores: pictures of a run (or of a bare folder) to metrics.json, scores.csv and protocol.json.

Every picture passes each encoder once; features are cached, so scoring again takes seconds. A bare folder of pictures is
never written to: its results and features go to `results_folder(path)`, a folder of its own under `reports/`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit import plugins
from evalkit.core import Encoder, EvalkitError, Metric, MetricRow
from evalkit.encoders.select import MINI, STANDARD, Kind, select_encoders
from evalkit.metrics import DEFAULT, METRICS, frechet
from evalkit.stages import measure, protocol, record_rows
from evalkit.stages.evidence import Bench, gather, read_texts
from evalkit.stages.image_sets import ImageSet, image_sets, results_folder
from evalkit.stages.reference_files import Reference, encoders_of, fid_floor, load

log = logging.getLogger(__name__)
__all__ = ["results_folder", "score"]

WORLD = "scenes"  # the reference that belongs to the mini encoders


def score(
    path: Path | str,
    *,
    metrics: Sequence[str] = (),
    encoders: str = "auto",
    reference: str | None = None,
    device: str = "auto",
    batch_size: int = 32,
) -> list[MetricRow]:
    """Score a run folder or a folder of pictures; returns the rows of metrics.json.

    Args:
        path: a run folder; or any folder of pictures, for which metrics that need prompts are not measured.
        metrics: names; () is fid, kid, inception_score, clip_score, precision, recall. Refusals and timings come with any.
        encoders: `auto`, `standard`, `mini`, or names joined by commas.
        reference: a name from `evalkit reference list` or a path; None is the bundled world for the mini encoders, and
            for others nothing: metrics against a reference are then not measured.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: pictures per batch; no result depends on it.
    """
    table = _metrics(metrics)
    run, sets, prompts = image_sets(Path(path))
    chosen, reasons = select_encoders(encoders, device, {metric.encoder for metric in table}, _mini_because(table, reference))
    for reason in reasons:
        log.info("encoder %s", reason)
    references, why = _references(table, chosen, reference)
    texts = read_texts(run, prompts, table, chosen)
    bench = Bench(run, table, chosen, references, why, texts, batch_size)
    rows: list[MetricRow] = []
    scores: list[tuple[Any, ...]] = []
    floors: dict[str, dict[str, float]] = {}
    image_notes: dict[str, list[str]] = {}
    for images in sets:
        evidence, image_notes[images.model] = gather(images, bench) if images.files else ({}, [])
        for metric in table:
            row, per_image = _row(metric, images, chosen, evidence, references, floors)
            rows.append(row)
            scores += per_image
        rows += record_rows.rows(images.model, images.all_records, images.requested)
    run.write_scores(("model", "index", "sample", "metric", "encoder", "value"), scores)
    run.write_protocol(protocol.facts(sets, prompts, table, chosen, reasons, references, floors, rows, image_notes))
    run.write_metrics(rows)
    return rows


def _metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, checked; those that come from records anyway are passed over."""
    table = [plugins.metric(name) for name in names if name not in record_rows.NAMES] if names else [METRICS[name] for name in DEFAULT]
    for metric in table:
        measure.requests(metric)
    return table


def _compared(table: Sequence[Metric]) -> set[Kind]:
    """The kinds of encoder whose metrics compare with a reference."""
    return {metric.encoder for metric in table if _compares(metric)}


def _compares(metric: Metric) -> bool:
    return bool({"real", "real_moments"} & set(measure.requests(metric)))


def _mini_because(table: Sequence[Metric], reference: str | None) -> dict[Kind, str]:
    """Where `auto` should not take a standard encoder, since there would be nothing to compare its features with."""
    if reference is None:
        return dict.fromkeys(_compared(table), "no reference was given, and the one that evalkit ships is of the bundled world")
    held = encoders_of(reference)
    return {
        kind: f"the reference {reference} is of {MINI[kind]}"
        for kind in _compared(table)
        if MINI[kind] in held and STANDARD[kind] not in held
    }


def _references(table: Sequence[Metric], chosen: dict[Kind, Encoder], name: str | None) -> tuple[dict[Kind, Reference], dict[Kind, str]]:
    """The reference of each kind of encoder that a metric compares with one, or why there is none."""
    needed = _compared(table)
    found: dict[Kind, Reference] = {}
    why: dict[Kind, str] = {}
    for kind, encoder in chosen.items():
        if kind not in needed:
            continue
        if name is None and encoder.name != MINI[kind]:
            why[kind] = f"no reference for {encoder.name} was given (`--reference NAME`, or `--encoders mini` and the bundled world)"
            continue
        try:
            found[kind] = load(name or WORLD, encoder)
        except EvalkitError as error:
            if name is not None:
                raise
            why[kind] = error.message
    return found, why


def _row(
    metric: Metric,
    images: ImageSet,
    chosen: dict[Kind, Encoder],
    evidence: dict[Kind, measure.Evidence],
    references: dict[Kind, Reference],
    floors: dict[str, dict[str, float]],
) -> tuple[MetricRow, list[tuple[Any, ...]]]:
    """One row of metrics.json and the rows of scores.csv that stand behind it."""
    kind, count = metric.encoder, len(images.files)
    encoder = chosen[kind].name if kind in chosen else ""
    reference = references[kind].name if _compares(metric) and kind in references else ""
    if kind not in chosen:
        found = measure.Measurement(None, note=f"not measured: no encoder of the kind {kind} was chosen")
    elif kind not in evidence:
        found = measure.Measurement(None, note="not measured: there are no pictures")
    else:
        found = measure.measure(metric, evidence[kind])
    notes = [found.note] if found.note else []
    if found.value is not None and metric.compute is frechet.fid and metric.feature == "pool":
        notes.append(_floor_note(references[kind], count, floors.setdefault(encoder, {})))
    if found.value is not None and images.texts and "text" in measure.requests(metric):
        cut = getattr(chosen[kind], "truncated", None)
        if cut is not None and (long := cut(images.texts)):
            notes.append(f"{long} prompts are longer than the encoder reads and were cut (their end token kept)")
    low, high, method = found.interval
    measured = (found.value, low, high, count, images.requested, metric.better, method, "; ".join(notes))
    row = MetricRow(images.model, metric.name, encoder, reference, *measured)
    if found.per_image is None:
        return row, []
    pairs = zip(images.records, found.per_image, strict=True)
    return row, [(images.model, record.index, record.sample, metric.name, encoder, repr(float(value))) for record, value in pairs]


def _floor_note(reference: Reference, count: int, known: dict[str, float]) -> str:
    if str(count) not in known:
        floor = fid_floor(reference, count)
        if floor is None:
            return "the small-sample bias is unknown: the reference holds no features of real images"
        known[str(count)] = floor
    return f"small-sample bias: {count} real images score {known[str(count)]:.4g} against the same reference"
