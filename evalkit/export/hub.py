"""Results of one model as `.eval_results/*.yaml`, which a model repository on the Hub shows.

The format is that of https://huggingface.co/docs/hub/eval-results: a data set, a task of it and one
value, with free text as notes. A value without its encoder, reference and count compares with
nothing, so the notes state them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, MetricRow
from evalkit.features.changed import mention_changes
from evalkit.files import write_atomically
from evalkit.hints import did_you_mean
from evalkit.run_folder import Run
from evalkit.specs import chosen_names

log = logging.getLogger(__name__)
_DATASET = re.compile(r"[\w.-]+/[\w.-]+")
_TASK = re.compile(r"[\w.-]+")


def export_hub(
    path: os.PathLike[str] | str,
    *,
    dataset: str,
    out: Path | str,
    model: str = "",
    metrics: str | Sequence[str] | None = None,
    task: Sequence[str] = (),
    source_url: str = "",
    on: str = "",
) -> list[Path]:
    """Write the results of a model as `<out>/.eval_results/*.yaml`, one file per value.

    Nothing is sent: the files are for a pull request to the model's repository. Values of encoders
    that do not know the images are left out and named.

    Args:
        path: a scored run folder.
        dataset: the benchmark on the Hub, `owner/name`; it has to define the tasks.
        out: the model's repository, or any folder.
        model: a label of the run; may be left out if it has one model.
        metrics: names joined by commas, or a list; None for all metrics of images.
        task: `METRIC=TASK`, the task that a metric is in the benchmark; by default its own name.
        source_url: where the run is published.
        on: the date of the evaluation, `2026-11-29`; by default that of metrics.json.

    Returns:
        The files, in the order of metrics.json.

    Raises:
        EvalkitError: not a scored run, an unknown model, metric or data set, or nothing to write.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    run = Run(path)
    _require(_DATASET, dataset, "The data set", "owner/name", "--dataset")
    if source_url and not re.fullmatch(r"https?://[^\s\x00-\x1f\x7f]+", source_url):
        raise EvalkitError(
            f"The source is {source_url!r}; expected an address with http:// or https://.",
            "Change --source-url.",
            code="export-1",
        )
    label = _label(run, model)
    mention_changes(run, [label])
    rows, protocol = _rows(run, label, metrics), run.protocol()
    tasks = _tasks(task, [row.metric for row in rows])
    day = _day(on) if on else _modified(run.metrics_path)
    texts: dict[str, str] = {}
    for row in rows:
        entry = EvalResultEntry(
            dataset_id=dataset,
            task_id=tasks.get(row.metric, row.metric),
            value=row.value,
            date=day,
            source_url=source_url or None,
            notes=_notes(row, protocol),
        )
        text = yaml.safe_dump(
            eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True, width=88
        )
        texts[_file_name(row, rows, texts)] = text
    made = [Path(out).expanduser() / ".eval_results" / name for name in texts]
    for target in made:
        write_atomically(target, texts[target.name])
    return made


def _file_name(row: MetricRow, rows: Sequence[MetricRow], taken: Collection[str]) -> str:
    """The reference is in the name only where the encoder has several of them for the metric."""
    alike = [one for one in rows if (one.metric, one.encoder) == (row.metric, row.encoder)]
    parts = ["evalkit", row.metric, row.encoder, row.reference if len(alike) > 1 else ""]
    stem = "-".join(re.sub(r"[^\w.-]+", "_", part) for part in parts if part)
    names = (f"{stem}{more}.yaml" for more in ("", *(f"-{n}" for n in range(2, len(rows) + 2))))
    return next(name for name in names if name not in taken)


def _label(run: Run, model: str) -> str:
    known = list(dict.fromkeys(row.model for row in run.metrics()))
    if model in known:
        return model
    if model:
        raise EvalkitError(
            f"{run.path} has no scored model {model!r}.",
            did_you_mean(model, known),
            code="export-2",
        )
    if len(known) != 1:
        raise EvalkitError(
            f"{run.path} has {len(known)} models; the files are for the repository of one.",
            f"Name it with --model: {', '.join(known)}.",
            code="export-3",
        )
    return known[0]


def _rows(run: Run, label: str, metrics: str | Sequence[str] | None) -> list[MetricRow]:
    """The values on all prompts that may be published."""
    protocol = run.protocol()
    stated, blind = protocol.get("measures", {}), protocol.get("blind_encoders", ())
    whole = [
        row
        for row in run.metrics()
        if row.model == label and row.on == "answered" and not row.group
    ]
    known = list(dict.fromkeys(row.metric for row in whole))
    named = chosen_names(metrics, "--metrics", known)
    for name in named:
        if name not in known:
            message = f"The metric {name!r} is not measured for {label} in {run.path}."
            raise EvalkitError(message, did_you_mean(name, known), code="export-4")
    chosen = []
    for row in whole:
        about = stated.get(row.metric, {})
        if named and row.metric not in named:
            continue
        if not named and (about.get("from_records") or about.get("from_ratings")):
            continue
        if row.value is None:
            log.warning("left out: %s: %s", row.metric, row.note)
        elif row.encoder in blind:
            log.warning("left out: %s: %s was not trained on such images", row.metric, row.encoder)
        else:
            chosen.append(row)
    if not chosen:
        raise EvalkitError(
            f"{run.path} has no value of {label} that may be published.",
            "Score it with encoders that know its images, such as `--encoders standard`.",
            code="export-5",
        )
    return chosen


def _tasks(given: Sequence[str], metrics: Sequence[str]) -> dict[str, str]:
    tasks: dict[str, str] = {}
    for text in given:
        metric, equals, name = text.partition("=")
        if not equals:
            raise EvalkitError(
                f"The task is {text!r}; expected METRIC=TASK.", "Change --task.", code="export-6"
            )
        if metric not in metrics:
            message = f"There is no value of {metric!r} to write."
            raise EvalkitError(message, did_you_mean(metric, metrics), code="export-7")
        _require(_TASK, name, f"The task of {metric}", "letters, digits, _, - and .", "--task")
        tasks[metric] = name
    return tasks


def _require(pattern: re.Pattern[str], text: str, what: str, expected: str, option: str) -> None:
    if not pattern.fullmatch(text):
        raise EvalkitError(
            f"{what} is {text!r}; expected {expected}.", f"Change {option}.", code="export-8"
        )


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise EvalkitError(
            f"The date is {text!r}; expected a day such as 2026-11-29.",
            "Change --on.",
            code="export-9",
        ) from error


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def _notes(row: MetricRow, protocol: Mapping[str, Any]) -> str:
    """Everything that the value depends on, in one line."""
    about = protocol.get("measures", {}).get(row.metric, {})
    parts = [f"{about.get('title', row.metric)}, {row.better} is better"]
    if row.low is not None and row.high is not None:
        parts.append(f"95% interval {row.low:.6g} to {row.high:.6g} ({row.interval})")
    parts.append(f"{row.count} of {row.requested} requested images")
    for kind, entries in (("encoder", "encoders"), ("reference", "references")):
        name = getattr(row, kind)
        found = [one for one in protocol.get(entries, {}).values() if one.get("name") == name]
        if name:
            digest = next((one.get("fingerprint") or one.get("image_hash") for one in found), "")
            parts.append(f"{kind} {name}" + f" ({digest})" * bool(digest))
    version = protocol.get("versions", {}).get("evalkit", "")
    against = f" and the reference {row.reference}" if row.reference else ""
    same = f"comparable only with values of {row.encoder}{against} on {row.count} images"
    parts += [part for part in (row.caution, row.note, f"{same} of the same prompts") if part]
    parts.append(f"evalkit {version}".strip())
    return "; ".join(parts)
