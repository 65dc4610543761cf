"""The stage that scores: pictures of a run (or of a bare folder) to metrics.json, scores.csv and
protocol.json.

Every picture passes each encoder once; features are cached, so scoring again takes seconds. A bare
folder of pictures is never written to: its results and features go to `results_folder(path)`, a
folder of its own under `reports/`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit import plugins
from evalkit.core import Encoder, EvalkitError, Metric, MetricRow
from evalkit.encoders.select import MINI, STANDARD, Choice, Kind, choose
from evalkit.features import validation as firewall
from evalkit.features.image_sets import ImageSet, image_sets, results_folder
from evalkit.features.validation import OnBad
from evalkit.metrics import DEFAULT, METRICS, frechet
from evalkit.reference.files import Reference, encoders_of, fid_floor, reference
from evalkit.score import measure, protocol
from evalkit.score import records as record_rows
from evalkit.score.compare import Entrant, compare
from evalkit.score.evidence import Bench, gather, part, read_texts

log = logging.getLogger(__name__)
__all__ = ["results_folder", "score"]

WORLD = "scenes"  # the reference that belongs to the mini encoders


def score(
    path: Path | str,
    *,
    metrics: Sequence[str] = (),
    encoders: str = "auto",
    reference: str | None = None,
    on_bad: OnBad = "refuse",
    device: str = "auto",
    batch_size: int = 32,
) -> list[MetricRow]:
    """Score a run, or pictures from anywhere; returns the rows of metrics.json.

    Where models answered different prompts, every metric is measured twice: on what each model made
    (`on` is "answered"), and on what all of them made ("common"), so that a model that refuses hard
    prompts gains nothing by it.

    Args:
        path: a run folder; or a folder, zip, tar or array of pictures, for which metrics that need
            prompts are not measured.
        metrics: names, or "all"; () is fid, kid, inception_score, clip_score, precision, recall.
            Refusals and timings come with any.
        encoders: `auto`, `standard`, `mini`, or names joined by commas.
        reference: a name from `evalkit reference list` or a path; None is the bundled world for the
            mini encoders, and for others nothing: metrics against a reference are then not
            measured.
        on_bad: pictures that cannot be taken as they are "refuse" the scoring, or are "skip"ped,
            counted and named.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: pictures per batch; no result depends on it.
    """
    table = _metrics(metrics)
    run, sets, prompts = image_sets(Path(path), on_bad)
    choice = choose(
        encoders, device, {metric.encoder for metric in table}, _mini_because(table, reference)
    )
    for reason in (*choice.reasons, *dict.fromkeys(choice.missing.values())):
        log.info("encoder %s", reason)
    references, why = _references(table, choice.encoders, reference)
    bench = Bench(
        run,
        table,
        choice.encoders,
        references,
        why,
        read_texts(run, prompts, table, choice.encoders),
        batch_size,
    )
    common = _common(sets)
    rows: list[MetricRow] = []
    scores: list[tuple[Any, ...]] = []
    findings: dict[str, dict[str, Any]] = {}
    floors: dict[str, dict[str, float]] = {}
    entrants: list[Entrant] = []
    for images in sets:
        evidence = gather(images, bench)
        findings[images.model] = images.findings()
        for note in firewall.notes(findings[images.model]):
            log.info("%s: %s", images.model, note)
        found = [_measured(metric, images, evidence, choice) for metric in table]
        made = [(record.index, record.sample) for record in images.records]
        measured = {metric.name: one for metric, one in zip(table, found, strict=True)}
        entrants.append(Entrant(images.model, evidence, made, measured))
        for metric, one in zip(table, found, strict=True):
            rows.append(_row(metric, images, one, bench, floors))
            scores += _per_image(metric, images, one, bench)
        rows += record_rows.rows(images.model, images.all_records, images.requested)
        if common is not None:
            places = [place for place, image in enumerate(made) if image in common]
            if len(places) < len(made):
                images = images.keep(places)
                parts: dict[Kind, measure.Evidence] = {
                    kind: part(whole, places) for kind, whole in evidence.items()
                }
                found = [_measured(metric, images, parts, choice) for metric in table]
            rows += [
                replace(_row(metric, images, one, bench, floors), on="common")
                for metric, one in zip(table, found, strict=True)
            ]
    run.write_scores(("model", "index", "sample", "metric", "encoder", "value"), scores)
    run.write_comparisons(compare(entrants, table) if len(entrants) > 1 else {})
    run.write_firewall(findings)
    run.write_protocol(
        protocol.facts(sets, prompts, table, choice, references, floors, rows, findings)
    )
    run.write_metrics(rows)
    return rows


def _common(sets: Sequence[ImageSet]) -> set[tuple[int, int]] | None:
    """The (prompt, sample) pairs of which every model made an image; None where that is all that
    any model made.
    """
    made = [{(record.index, record.sample) for record in images.records} for images in sets]
    shared = set.intersection(*made)
    return shared if any(one != shared for one in made) else None


def _metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, checked; those that come from records anyway are passed over."""
    names = tuple(METRICS) if tuple(names) == ("all",) else names or DEFAULT
    table = [plugins.metric(name) for name in names if name not in record_rows.NAMES]
    for metric in table:
        measure.requests(metric)
    return table


def _compared(table: Sequence[Metric]) -> set[Kind]:
    """The kinds of encoder whose metrics compare with a reference."""
    return {metric.encoder for metric in table if _compares(metric)}


def _compares(metric: Metric) -> bool:
    return bool({"real", "real_moments"} & set(measure.requests(metric)))


def _mini_because(table: Sequence[Metric], reference: str | None) -> dict[Kind, str]:
    """Where `auto` should not take a standard encoder, since there would be nothing to compare its
    features with.
    """
    if reference is None:
        return dict.fromkeys(
            _compared(table),
            "no reference was given, and the one that evalkit ships is of the bundled world",
        )
    held = encoders_of(reference)
    return {
        kind: f"the reference {reference} is of {MINI[kind]}"
        for kind in _compared(table)
        if MINI[kind] in held and STANDARD[kind] not in held
    }


def _references(
    table: Sequence[Metric], chosen: dict[Kind, Encoder], name: str | None
) -> tuple[dict[Kind, Reference], dict[Kind, str]]:
    """The reference of each kind of encoder that a metric compares with one, or why there is none."""
    needed = _compared(table)
    found: dict[Kind, Reference] = {}
    why: dict[Kind, str] = {}
    for kind, encoder in chosen.items():
        if kind not in needed:
            continue
        if name is None and encoder.name != MINI[kind]:
            why[kind] = (
                f"no reference for {encoder.name} was given (`--reference NAME`, or `--encoders mini` and the bundled world)"
            )
            continue
        try:
            found[kind] = reference(name or WORLD, encoder)
        except EvalkitError as error:
            if name is not None:
                raise
            why[kind] = error.message
    return found, why


def _measured(
    metric: Metric, images: ImageSet, evidence: dict[Kind, measure.Evidence], choice: Choice
) -> measure.Measurement:
    if metric.encoder not in choice.encoders:
        return measure.Measurement(None, note=f"not measured: {choice.missing[metric.encoder]}")
    if not images.files:
        return measure.Measurement(None, note="not measured: there are no pictures")
    return measure.measure(metric, evidence[metric.encoder])


def _row(
    metric: Metric,
    images: ImageSet,
    found: measure.Measurement,
    bench: Bench,
    floors: dict[str, dict[str, float]],
) -> MetricRow:
    """One row of metrics.json."""
    encoder, count = bench.chosen.get(metric.encoder), len(images.files)
    name = encoder.name if encoder else ""
    reference = (
        bench.references[metric.encoder]
        if _compares(metric) and metric.encoder in bench.references
        else None
    )
    notes = [found.note] if found.note else []
    if (
        found.value is not None
        and reference
        and metric.compute is frechet.fid
        and metric.feature == "pool"
    ):
        notes.append(_floor_note(reference, count, floors.setdefault(name, {})))
    if found.value is not None and images.texts and "text" in measure.requests(metric):
        cut = getattr(encoder, "truncated", None)
        if cut is not None and (long := cut([metric.prefix + text for text in images.texts])):
            notes.append(
                f"{long} prompts are longer than the encoder reads and were cut (their end token kept)"
            )
    low, high, method = found.interval
    measured = (
        found.value,
        low,
        high,
        count,
        images.requested,
        metric.better,
        method,
        "; ".join(notes),
    )
    return MetricRow(
        images.model, metric.name, name, reference.name if reference else "", *measured
    )


def _per_image(
    metric: Metric, images: ImageSet, found: measure.Measurement, bench: Bench
) -> list[tuple[Any, ...]]:
    """The rows of scores.csv that stand behind a row of metrics.json."""
    if found.per_image is None:
        return []
    encoder, pairs = (
        bench.chosen[metric.encoder].name,
        zip(images.records, found.per_image, strict=True),
    )
    return [
        (images.model, record.index, record.sample, metric.name, encoder, repr(float(value)))
        for record, value in pairs
    ]


def _floor_note(reference: Reference, count: int, known: dict[str, float]) -> str:
    if str(count) not in known:
        floor = fid_floor(reference, count)
        if floor is None:
            return (
                "the small-sample bias is unknown: the reference holds no features of real images"
            )
        known[str(count)] = floor
    return f"small-sample bias: {count} real images score {known[str(count)]:.4g} against the same reference"
