"""The score stage: images of a run, or images from anywhere, to metrics.json and its companions.

Every image passes each encoder once. Features are cached, so scoring again takes seconds. A folder
of images that is not a run is never written to: its results and features go to
`results_folder(path)`, a folder of its own under `reports/`.
"""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.config import Options
from evalkit.core import Metric, MetricRow, NothingMeasuredWarning, Precision, Prompt
from evalkit.encoders.select import Choice
from evalkit.features import validation
from evalkit.features.changed import mention_lost
from evalkit.features.image_sets import ImageSet, image_sets, results_folder
from evalkit.features.problems import warn_of_problems
from evalkit.features.validation import OnBad
from evalkit.files import path_of
from evalkit.prompts.suites import stated
from evalkit.ratings.rows import refresh
from evalkit.run_config import prompts_source
from evalkit.run_folder import Run
from evalkit.score import kept, protocol, records
from evalkit.score.categories import measure_categories
from evalkit.score.common import common_rows
from evalkit.score.compare import Entrant, comparisons, pairs
from evalkit.score.evidence import Setup, encode_prompts, gather
from evalkit.score.groups import groups_of, measure_groups
from evalkit.score.measure import Measurement
from evalkit.score.precision_errors import PrecisionError, precision_errors, with_errors
from evalkit.score.resources import Resources, load, mention, only_bundled
from evalkit.score.robustness import evidence_of, robustness, with_variants
from evalkit.score.rows import measure_images, metric_row, score_rows
from evalkit.score.settings import Names, Settings, keep, mention_old_report, resolve, rows_of
from evalkit.sources import absent
from evalkit.terminal import warn_not_measured

log = logging.getLogger(__name__)
__all__ = ["results_folder", "score"]


def score(
    path: os.PathLike[str] | str,
    *,
    metrics: Names = None,
    only: bool = False,
    models: Names = None,
    encoders: Names = None,
    reference: str | None = None,
    precision: Precision | None = None,
    on_bad: OnBad = "refuse",
    device: str = "auto",
    batch_size: int | None = None,
    options: Options | None = None,
) -> list[MetricRow]:
    """Score a run, or images from anywhere; returns the rows of metrics.json.

    Where models answered different prompts, every metric is measured twice: on the images of each
    model (`on` is "answered"), and on the images that all of them made ("common"), so that a model
    does not gain by refusing hard prompts. The same holds for a scorer with answers on different
    images of the models. Where the prompts have groups, the rows of all prompts are followed by
    those of each group (`group`), and where a scorer states what its questions are about, by those
    of each category of questions.

    Args:
        path: a run folder; or a folder, zip, tar or array of images, for which metrics that need
            prompts are not measured.
        metrics: names or presets, such as "all". A run has these beside the metrics that it has
            already, and run.toml names them all, but for new scorers that cannot be loaded. Where
            none is named: fid, kid, inception_score, clip_score, precision, recall. Refusals and
            timings are always included.
        only: measure exactly the named metrics; those that a run had before are dropped.
        models: labels of the models of a run to compare; the default is all of them.
        encoders: `auto`, `standard`, `mini`, or names; the default is that of run.toml, else
            `auto`.
        reference: a name from `evalkit reference list` or a path; the default is that of run.toml,
            else the bundled data set for the mini encoders and 1,000 ImageNet photos for
            efficientnet-lite0. For other encoders metrics against a reference are then not
            measured.
        precision: in which evalkit's own encoders compute: `exact` (IEEE float32), or faster and
            less exact `tf32` (NVIDIA GPUs since the A100) or `bf16`. Encoders of a faster mode have
            names of their own, such as inception-bf16, and the error of the mode is measured on up
            to 512 images of each model. The default is that of run.toml, else `exact`.
        on_bad: invalid images "refuse" the scoring, or are "skip"ped, counted and named.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: images per batch, by default 32, and on a GPU as many as fit into half of its
            free memory, 256 at most; results agree up to rounding.
        options: options of scorers by name, which a run keeps.

    Raises:
        EvalkitError: unknown names, wrong options, invalid images, an encoder, a scorer of evalkit
            or a reference that cannot be loaded or fails, or named scorers of which none
            can be measured.

    Warns:
        FailedMetricWarning: the function of a metric fails; all other results are written.
        IncompleteRunWarning: a model has no image at all, or black images only.
        NothingMeasuredWarning: scorers are named, nothing else, and none has a value.
    """
    path = path_of(path, "path")
    run = Run(results_folder(path))
    with run.writing_results():
        chosen = resolve(
            path,
            metrics=metrics,
            only=only,
            models=models,
            encoders=encoders,
            reference=reference,
            options=options,
            precision=precision,
        )
        models = chosen.models or Run(path).models()
        found = load(chosen, only_bundled(Run(path), models), device, run.path)
        mention(found, chosen.precision, Run(path).is_run)
        before = rows_of(run)
        rows = score_with(path, chosen, found, on_bad, batch_size)
        mention_old_report(run, before, rows)
    return rows


def score_with(
    path: Path | str,
    chosen: Settings,
    found: Resources,
    on_bad: OnBad = "refuse",
    batch_size: int | None = None,
    generated: bool = False,
    before: Sequence[str] | None = None,
) -> list[MetricRow]:
    """`score` with complete settings and loaded resources; it does not mention an old report.

    Args:
        generated: `generate` has just said what the models lack.
        before: the metrics that are not new to the run; None for those of run.toml.
    """
    table, choice, references, why, blind = found
    run, sets, prompts = image_sets(Path(path), on_bad, chosen.models)
    if prompts and not chosen.models:
        mention_lost(run)
    left_out = [model for model in run.models() if chosen.models and model not in chosen.models]
    if left_out:
        command = f"evalkit score {shlex.quote(str(path))}"
        log.info("not compared: %s; to compare all models: `%s`", ", ".join(left_out), command)
    for images in () if generated else sets:
        for line in absent(images.absent()):
            log.warning("%s: %s", images.model, line)
    texts = encode_prompts(run, prompts, table, choice.encoders)
    setup = Setup(run, table, choice.encoders, references, why, texts, batch_size)
    rows: list[MetricRow] = []
    findings: dict[str, dict[str, Any]] = {}
    entrants: list[Entrant] = []  # on the original prompts
    wholes: list[Entrant] = []  # on variants of prompts too
    errors: dict[str, dict[str, PrecisionError]] = {}
    for images in sets:
        scored = _score_model(images, setup, choice)
        findings[images.model] = images.findings()
        for note in validation.notes(findings[images.model]):
            log.info("%s: %s", images.model, note)
        rows += [_cautioned(row, blind) for row in scored.rows]
        entrants.append(scored.entrant)
        wholes.append(scored.whole)
        errors[images.model] = scored.errors
    originals = [images.originals() for images in sets]
    rows += [_cautioned(row, blind) for row in common_rows(originals, entrants, setup, choice)]
    seen = [
        metric
        for metric in table
        if metric.encoder in choice.encoders and choice.encoders[metric.encoder].name not in blind
    ]
    compared = pairs(entrants, seen)
    groups = groups_of(run.prompts() if prompts else ())
    for note in groups.notes():
        log.info(note)
    of_groups, compared_by_group = measure_groups(groups, sets, wholes, setup, choice, seen)
    by_category = measure_categories(originals, entrants, setup, seen)
    if by_category.left_out:
        log.info(by_category.note())
    keep(run, chosen, [one.name for one in table if one.scorer and found.reason(one)], before)
    run.begin_scoring()
    run.write_scores(
        row
        for images, whole in zip(sets, wholes, strict=True)
        for metric in table
        for row in score_rows(metric, images, whole.measured[metric.name], setup)
    )
    made = comparisons(compared + compared_by_group + by_category.pairs, len(entrants))
    run.write_comparisons(made if len(entrants) > 1 and seen else None)
    run.write_robustness(robustness(wholes, seen, run.prompts() if prompts else ()))
    run.write_image_checks(findings)
    texts = [text for at, text in enumerate(prompts) if at not in sets[0].variants]
    listed = stated(prompts_source(run), [Prompt("", one) for one in texts])
    facts = protocol.facts(sets, texts, setup, choice, rows, findings, listed)
    facts |= {"groups": groups.facts(), "not_compared": left_out, "blind_encoders": blind}
    facts["questions"] = by_category.prompts
    if sources := run.sources():
        facts["sources"] = sources
    facts["encoded_on"] = {one.model: protocol.encoding_facts(one.evidence) for one in entrants}
    facts["precision_errors"] = {
        model: {name: error._asdict() for name, error in found.items()}
        for model, found in errors.items()
        if found
    }
    run.write_protocol(facts)
    warn_of_problems(sets)
    named = chosen.named()
    _warn_of_nothing(sets, [metric for metric in table if metric.name in named], entrants)
    warn_not_measured([row for row in rows if row.metric not in records.MEASURES])
    rows += [_cautioned(row, blind) for row in (*of_groups, *by_category.rows)]
    run.write_metrics(rows)
    run.end_scoring({images.model: images.all_records for images in sets})
    return run.metrics() if refresh(run) else rows


def _warn_of_nothing(
    sets: Sequence[ImageSet], named: Sequence[Metric], entrants: Sequence[Entrant]
) -> None:
    """Give a NothingMeasuredWarning where scorers are named, nothing else, and none has a value.

    One that failed has a warning of its own.
    """
    measured = [one.measured[metric.name] for one in entrants for metric in named]
    said = any(one.value is not None or one.failed for one in measured)
    only = all(metric.scorer is not None for metric in named)
    if only and measured and not said and any(images.files for images in sets):
        names = ", ".join(metric.name for metric in named)
        notes = dict.fromkeys(one.note.removeprefix("not measured: ") for one in measured)
        why = "; ".join(notes).removesuffix(".")
        text = f"None of the named scorers has a value ({names}): {why}."
        warnings.warn(text, NothingMeasuredWarning, stacklevel=3)


def _cautioned(row: MetricRow, blind: Sequence[str]) -> MetricRow:
    """The row, with a caution where its encoder does not know the images."""
    if row.value is None or row.encoder not in blind:
        return row
    said = f"{row.encoder} was not trained on such images: nothing may be concluded"
    return replace(row, caution="; ".join(filter(None, [said, row.caution])))


class _Scored(NamedTuple):
    """One model's results."""

    rows: list[MetricRow]
    entrant: Entrant  # on the original prompts
    whole: Entrant  # on all images; where the originals have values per image, so have these
    errors: dict[str, PrecisionError]  # by encoder in a faster mode


def _score_model(every: ImageSet, setup: Setup, choice: Choice) -> _Scored:
    """The rows are those of a run without variants of prompts."""
    of_all, images = gather(every, setup), every.originals()
    evidence = evidence_of(images, every, of_all)
    made = [(record.index, record.sample) for record in images.records]
    measured = {
        metric.name: measure_images(metric, images, evidence, choice) for metric in setup.metrics
    }
    _keep_measured(images, setup, choice, measured)
    errors = precision_errors(images, evidence, setup)
    measured = with_errors(measured, errors, setup)
    for said in dict.fromkeys(one.why_unanswered for one in measured.values()):
        if said:
            log.warning("%s: %s", images.model, said)
    rows = [metric_row(metric, images, measured[metric.name], setup) for metric in setup.metrics]
    entrant = Entrant(images.model, evidence, made, measured)
    whole = with_variants(entrant, every, of_all, setup, choice)
    rows += records.rows(images.model, images.all_records, images.requested)
    return _Scored(rows, entrant, whole, errors)


def _keep_measured(
    images: ImageSet, setup: Setup, choice: Choice, measured: Mapping[str, Measurement]
) -> None:
    """Keep the measurements for the gate, which compares models of runs only."""
    if images.texts is None or not images.files:
        return
    basis = kept.Basis.of(
        images,
        {
            "encoders": protocol.encoder_facts(choice.encoders),
            "references": protocol.reference_facts(setup.references),
        },
    )
    for metric in setup.metrics:
        if key := basis.key(metric):
            kept.write(setup.run, images.model, metric, measured[metric.name], key)
