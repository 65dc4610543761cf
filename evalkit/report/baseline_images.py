"""The baseline's images of the prompts that lost most, copied into the report of the candidate.

So the page is complete without the run of the baseline.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from evalkit.core import EvalkitError
from evalkit.files import write_atomically
from evalkit.report.image_size import UNREADABLE, size_of
from evalkit.run_folder import Run

FOLDER = "gate"  # in report/
FILE = re.compile(r"\d{5,}-\d+\.(png|jpg)")  # the copies
EXACT, SIDE = 256, 512  # pixels: up to the first a copy is exact, larger ones are reduced

Key = tuple[str, int]  # id of the prompt, sample


class BaselineImage(NamedTuple):
    """An image in the run of the baseline."""

    name: str  # of its copy
    size: tuple[int, int]
    data: bytes  # the copy


def baseline_images(run: Run, gate: Mapping[str, Any]) -> dict[Key, BaselineImage]:
    """The images of `changed` that still have the score that was gated; {} without a run.

    gate: the content of gate.json. An image that has another score by now is another image.
    """
    if not gate["baseline_run"] or not gate["changed"]:
        return {}
    gated = {(item["prompt"], item["sample"]): item for item in gate["changed"]}
    other, label = Run(run.path / gate["baseline_run"]), gate["baseline_label"]
    metric = gate["changed"][0]["metric"]
    try:
        ids = dict(enumerate(prompt.id for prompt in other.prompts()))
        values = {
            (int(row["index"]), int(row["sample"])): float(row["value"] or "nan")
            for row in other.scores()
            if (row["model"], row["metric"]) == (label, metric)
        }
        records = [record for record in other.records(label) if record.file]
    except EvalkitError:  # there is no such run any more
        return {}
    found = {}
    for record in records:
        key = ids.get(record.index, ""), record.sample
        value = values.get((record.index, record.sample), math.nan)
        path = other.image_path(label, record)
        if key in gated and math.isclose(value, gated[key]["baseline"], rel_tol=1e-3, abs_tol=1e-3):
            size = size_of(path)
            suffix = "png" if max(size) <= EXACT else "jpg"
            if data := _encoded(path, size, suffix):
                name = f"{record.index:05d}-{record.sample}.{suffix}"
                found[key] = BaselineImage(name, size, data)
    return found


def copy_images(run: Run, gate: Mapping[str, Any]) -> list[str]:
    """Write the copies into `report/gate`; returns their names."""
    images = baseline_images(run, gate).values()
    for one in images:
        write_atomically(run.report_path / FOLDER / one.name, one.data)
    return [one.name for one in images]


def _encoded(path: Path, size: tuple[int, int], suffix: str) -> bytes:
    """The copy of an image; b"" if there is none, also for one that is cut off."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.thumbnail((SIDE, SIDE) if max(size) > EXACT else size)
            image.convert("RGB").save(buffer, "jpeg" if suffix == "jpg" else "png", quality=90)
    except UNREADABLE:
        return b""
    return buffer.getvalue()
