"""The pictures that are to be scored: those of a run's models, or those of a bare folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evalkit.core import EvalkitError, Record
from evalkit.images import file_sha256
from evalkit.run_folder import Run, folder_name
from evalkit.stages.features import ImageFile
from evalkit.stages.reference import images_below


@dataclass(frozen=True)
class ImageSet:
    """The pictures of one model with what was asked for. `files`, `records` and `texts` (if any) belong together."""

    model: str
    files: list[ImageFile]
    records: list[Record]  # of the pictures that are there
    all_records: list[Record]  # refusals and failures too
    texts: list[str] | None  # None for a bare folder
    requested: int


class Source(NamedTuple):
    run: Run  # where results go
    sets: list[ImageSet]
    prompts: list[str]  # all prompts of the run, empty for a bare folder


def results_folder(path: Path | str) -> Path:
    """Where `score` writes: the run folder itself; for a bare folder of pictures `reports/<name>-<hash of its path>`."""
    folder = Path(path)
    if Run(folder).prompts_path.is_file():
        return folder
    whole = str(folder.resolve())
    return Path("reports") / f"{folder_name(folder.resolve().name)[:40]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def image_sets(path: Path) -> Source:
    """What there is to score. Raises EvalkitError where there are neither prompts nor pictures."""
    run = Run(path)
    if not run.prompts_path.is_file():
        files = [ImageFile(file, file_sha256(file)) for file in images_below(path)]
        records = [Record(str(place), place, 0, 0, "ok", str(file.path), file.sha256) for place, file in enumerate(files)]
        return Source(Run(results_folder(path)), [ImageSet(path.resolve().name, files, records, records, None, len(files))], [])
    prompts, models = run.prompts(), run.models()
    if not models:
        raise EvalkitError(f"{path} has prompts but no pictures.", "Make some with `evalkit generate`.")
    everything = {model: run.records(model) for model in models}
    per_prompt = max((record.sample + 1 for records in everything.values() for record in records), default=1)
    sets = []
    for model, records in everything.items():
        made = [record for record in records if record.status == "ok"]
        files = [ImageFile(run.image_path(model, record), record.sha256) for record in made]
        texts = [prompts[record.index].text for record in made]
        sets.append(ImageSet(model, files, made, records, texts, len(prompts) * per_prompt))
    return Source(run, sets, [prompt.text for prompt in prompts])
