"""A run in a notebook: its metrics and a strip of images, as HTML that needs no file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from evalkit.core import EvalkitError, Record
from evalkit.hints import in_python
from evalkit.report.facts import Facts, fixed_sample, outcome, read_facts
from evalkit.report.image_size import UNREADABLE
from evalkit.report.render import environment
from evalkit.run_folder import Run

MOST_PROMPTS, MOST_IMAGES = 6, 20  # with SIDE and QUALITY: below 200 kB, whatever the images are
SIDE, QUALITY = 96, 75  # pixels, and of WebP


@dataclass(frozen=True)
class Thumbnail:
    """One image of the strip."""

    data: str  # a data: URI; "" if there is no image
    gap: str  # why there is none


@dataclass(frozen=True)
class Strip:
    """The same prompts for all models, with the first image of each."""

    prompts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Thumbnail]]]  # by model


def to_notebook(path: Path | str) -> str:
    """HTML of a run that may lack scores or images: it shows what there is, and why no more."""
    run, facts, problem = Run(path), None, ""
    try:
        facts = read_facts(path)
        problem = " ".join(facts.changes.said)
    except EvalkitError as error:
        problem = str(error)
    try:
        strip = _strip(run)
    except EvalkitError as error:
        strip, problem = Strip((), ()), str(error)
    page = environment().get_template("notebook.html.j2")
    reasons = _reasons(facts) if facts else {}
    return page.render(run=run, facts=facts, problem=problem, strip=strip, reasons=reasons)


def _reasons(facts: Facts) -> dict[str, str]:
    """Why a metric has no value, by its title."""
    return {
        finding.title: in_python(finding.verdict.removeprefix("Not measured: "))
        for finding in facts.stated
        if not finding.measured
    }


def _strip(run: Run) -> Strip:
    """A fixed sample of the prompts, so that nobody chooses the images."""
    models, prompts = run.models()[:MOST_IMAGES], run.prompts() if run.models() else []
    count = max(1, min(MOST_PROMPTS, MOST_IMAGES // max(1, len(models))))
    chosen = fixed_sample(prompts, count)
    rows = []
    for model in models:
        records = {record.index: record for record in run.records(model) if record.sample == 0}
        rows.append((model, [_thumbnail(run, model, records.get(index)) for index in chosen]))
    return Strip([prompts[index].text for index in chosen], rows)


def _thumbnail(run: Run, model: str, record: Record | None) -> Thumbnail:
    if record is None or record.status != "ok":
        return Thumbnail("", outcome(record) if record else "missing")
    try:
        with Image.open(run.image_path(model, record)) as image:
            image.draft("RGB", (SIDE, SIDE))
            small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        small.save(file, "WEBP", quality=QUALITY)
    except UNREADABLE:
        return Thumbnail("", "unreadable")
    return Thumbnail(f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", "")
