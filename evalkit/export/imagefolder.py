"""Images of a run with their prompts and scores, as a folder that `datasets` loads.

`load_dataset("imagefolder", data_dir=...)` reads metadata.jsonl, one object per image. Images that
do not exist have no line there, so not_made.jsonl and README.md state them: a data set of what a
model did not refuse would say nothing about its refusals.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import escape
from evalkit.core import EvalkitError, Prompt, Record
from evalkit.features.changed import mention_lost, refuse_changes
from evalkit.files import write_atomically
from evalkit.hints import did_you_mean
from evalkit.report.facts import OUTCOMES, outcome
from evalkit.run_folder import Run, folder_name
from evalkit.specs import chosen_names
from evalkit.terminal import track

log = logging.getLogger(__name__)
METADATA = "metadata.jsonl"
NO_ROW = "no row in the manifest"  # the detail of such an image


def export_imagefolder(
    path: os.PathLike[str] | str,
    *,
    out: Path | str,
    models: str | Sequence[str] | None = None,
) -> Path:
    """Write images, metadata.jsonl, not_made.jsonl and README.md; returns the folder.

    Each line of metadata.jsonl has `file_name`, `model`, `prompt_id`, `prompt`, `group`, `sample`,
    `seed`, and one column per score: `clip_score`, or `clip_score@ENCODER` where a run has several
    encoders. A score that an image does not have, or that is not finite is null.

    Args:
        path: a run folder; it need not be scored.
        out: a new or empty folder, outside of the run. It appears whole or not at all.
        models: labels joined by commas, or a list; None for all.

    Raises:
        EvalkitError: not a run, an unknown model, no images, or `out` has files, is in the run
            or cannot be written.
    """
    run, folder = Run(path), Path(out).expanduser()
    prompts, known = run.prompts(), run.models()
    chosen = chosen_names(models, "--models", known)
    for name in chosen:
        if name not in known:
            raise EvalkitError(
                f"{run.path} has no model {name!r}.", did_you_mean(name, known), code="export-10"
            )
    chosen = list(dict.fromkeys(chosen or known))
    place = Path(os.path.realpath(folder))  # unlike resolve(), takes a loop of links
    if Path(os.path.realpath(run.path)) in (place, *place.parents):
        raise EvalkitError(
            f"{folder} is inside of the run {run.path}.", "Choose another --out.", code="export-11"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EvalkitError(
            f"{folder} exists and is not empty.", "Choose another --out.", code="export-12"
        )
    records = _complete({model: run.records(model) for model in known}, prompts)
    records = {model: records[model] for model in chosen}
    for model in chosen:
        if lost := sum(one.detail == NO_ROW for one in records[model]):
            total = len(records[model])
            log.warning(
                "%s: %d of %d requested images have no row in the manifest", model, lost, total
            )
    made = [(model, one) for model in chosen for one in records[model] if one.status == "ok"]
    if not made:
        raise EvalkitError(
            f"{run.path} has no image of {', '.join(chosen) or 'any model'}.",
            "Generate some with `evalkit generate`.",
            code="export-13",
        )
    refuse_changes(run, chosen)
    if not models:
        mention_lost(run)
    scores, columns = _scores(run)
    lines = []
    for model, record in made:
        name = f"{folder_name(model)}/{record.file}"
        own = scores.get((model, record.index, record.sample), {})
        about = _about(model, record, prompts)
        lines.append({"file_name": name, **about, **{name: own.get(name) for name in columns}})
    absent = [
        {**_about(model, one, prompts), "status": one.status, "detail": one.detail}
        for model in chosen
        for one in records[model]
        if one.status != "ok"
    ]
    texts = {
        "not_made.jsonl": _json_lines(absent),
        "README.md": _readme(run, records, len(prompts), columns),
        METADATA: _json_lines(lines),
    }
    with _whole(folder) as place:
        for model, record in track(made, "copy images", len(made)):
            copy = place / folder_name(model) / record.file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.image_path(model, record), copy)
        for name, text in texts.items():
            write_atomically(place / name, text)
    return folder


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which becomes `folder` at the end of the block, or is removed.

    Raises EvalkitError where nothing can be written.
    """
    target = folder.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".evalkit-") as temporary:
            place = Path(temporary, "data")
            place.mkdir()
            yield place
            if target.is_dir():  # empty
                target.rmdir()
            place.rename(target)
    except OSError as error:
        raise EvalkitError(
            f"Could not write {folder}: {error.strerror}.",
            "Choose another --out.",
            code="export-14",
        ) from error


def _complete(
    records: Mapping[str, list[Record]], prompts: Sequence[Prompt]
) -> dict[str, list[Record]]:
    """The records, and one for each image that was requested but has no row in a manifest."""
    samples = max((one.sample + 1 for found in records.values() for one in found), default=1)
    whole = {}
    for model, found in records.items():
        known = {(one.index, one.sample): one for one in found}
        for index, prompt in enumerate(prompts):
            for sample in range(samples):
                none = Record(prompt.id, index, sample, 0, "missing", detail=NO_ROW)
                known.setdefault((index, sample), none)
        whole[model] = [known[key] for key in sorted(known)]
    return whole


def _about(model: str, record: Record, prompts: Sequence[Prompt]) -> dict[str, Any]:
    prompt = prompts[record.index]
    return {
        "model": model,
        "prompt_id": prompt.id,
        "prompt": prompt.text,
        "group": prompt.group,
        "sample": record.sample,
        "seed": None if record.detail == NO_ROW else record.seed,
    }


def _scores(run: Run) -> tuple[dict[tuple[str, int, int], dict[str, float]], list[str]]:
    """The scores of each image by column, and all columns."""
    rows = run.scores()
    encoders = {(row["metric"], row["encoder"]) for row in rows}
    several = {name for name, count in Counter(name for name, _ in encoders).items() if count > 1}
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        name = row["metric"]
        column = f"{name}@{row['encoder']}" if name in several else name
        columns[column] = None
        if math.isfinite(float(row["value"] or "nan")):
            place = (row["model"], int(row["index"]), int(row["sample"]))
            found.setdefault(place, {})[column] = float(row["value"])
    return found, list(columns)


def _json_lines(rows: Sequence[dict[str, Any]]) -> str:
    texts = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    return "".join(f"{text}\n" for text in texts)


def _readme(
    run: Run, records: dict[str, list[Record]], prompts: int, columns: Sequence[str]
) -> str:
    title = run.path.resolve().name
    quoted = json.dumps(escape.visible(title), ensure_ascii=False)
    lines = [
        "---", f"pretty_name: {quoted}", "task_categories:", "- text-to-image", "---",
        "", f"# {escape.markdown(title)}", "",
        f"Images for {prompts:,} prompts, exported by evalkit. `metadata.jsonl` has one line per"
        " image, `not_made.jsonl` one per requested image that does not exist.", "",
        "| model | asked | made | refused | failed | missing |", "|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for model, found in records.items():
        kinds = Counter(map(outcome, found))
        counts = [len(found), *(kinds[kind] for kind in OUTCOMES)]
        lines.append(f"| {escape.markdown(model)} | {' | '.join(map(str, counts))} |")
    if columns:
        names = ", ".join(f"`{name}`" for name in columns)
        lines += ["", f"Scores of single images: {names}. They compare within this data set only."]
    return "\n".join(lines) + "\n"
