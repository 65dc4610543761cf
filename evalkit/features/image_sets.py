"""The pictures that are to be scored: those of a run's models, or those of a bare folder, zip, tar
or array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Record
from evalkit.features.validation import Firewall, ImageFile, OnBad, check_policy
from evalkit.images import BadImage, content_sha256, raise_bad_images
from evalkit.run_folder import Run, folder_name
from evalkit.sources import open_source
from evalkit.terminal import track


@dataclass(frozen=True)
class ImageSet:
    """The pictures of one model with what was asked for. `files`, `records` and `texts` (if any)
    belong together.
    """

    model: str
    files: list[ImageFile]
    records: list[Record]  # of the pictures that are there
    all_records: list[Record]  # refusals and failures too
    texts: list[str] | None  # None for a bare folder
    requested: int
    wall: Firewall = field(default_factory=Firewall)
    skipped: list[BadImage] = field(
        default_factory=list
    )  # pictures that cannot be taken: in `requested`, and in nothing else

    def findings(self) -> dict[str, Any]:
        """What the firewall found, as plain values (see `firewall.summary`). Decodes only what no
        encoder has decoded.
        """
        return self.wall.findings(self.files, self.skipped)

    def keep(self, places: Sequence[int]) -> ImageSet:
        """The pictures at these places."""
        texts = None if self.texts is None else [self.texts[place] for place in places]
        return replace(
            self,
            files=[self.files[place] for place in places],
            records=[self.records[place] for place in places],
            texts=texts,
        )


class Source(NamedTuple):
    run: Run  # where results go
    sets: list[ImageSet]
    prompts: list[str]  # all prompts of the run, empty for a bare folder


def results_folder(path: Path | str) -> Path:
    """Where `score` writes: the run folder itself; for any other place of pictures
    `reports/<name>-<hash of its path>`.
    """
    folder = Path(path)
    if Run(folder).prompts_path.is_file():
        return folder
    whole = str(folder.resolve())
    return (
        Path("reports")
        / f"{folder_name(folder.resolve().name)[:40]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    )


def image_sets(path: Path, on_bad: OnBad = "refuse") -> Source:
    """What there is to score. Raises EvalkitError where there are neither prompts nor pictures.

    on_bad: pictures that cannot be taken stop the scoring where they are met; with "skip" all are
    looked at now, and those are left out of `files`.
    """
    check_policy(on_bad)
    run = Run(path)
    source = _of_run(run) if run.prompts_path.is_file() else _bare(path)
    return (
        source
        if on_bad == "refuse"
        else source._replace(sets=[_without_bad(images) for images in source.sets])
    )


def _bare(path: Path) -> Source:
    """Any place of pictures: a folder, zip, tar or array."""
    source, run = open_source(path), Run(results_folder(path))
    wall = _firewall(run, path.resolve().name)
    files: list[ImageFile] = []
    for picture in track(source, "reading pictures", source.count or 0):
        place = path / picture.name.lstrip("/")
        try:
            digest = content_sha256(picture.read())
        except OSError:  # the firewall names it
            digest = hashlib.sha256(
                f"unreadable:{place}".encode("utf-8", "surrogateescape")
            ).hexdigest()
        files.append(ImageFile(place, digest, picture.read, wall.see))
    if not files:
        raise EvalkitError(
            f"{path} has no pictures in it.",
            "Give a folder of pictures, a zip, tar shards or an array.",
        )
    records = [
        Record(str(place), place, 0, 0, "ok", str(file.path), file.sha256)
        for place, file in enumerate(files)
    ]
    return Source(
        run, [ImageSet(path.resolve().name, files, records, records, None, len(files), wall)], []
    )


def _of_run(run: Run) -> Source:
    prompts, models = run.prompts(), run.models()
    if not models:
        raise EvalkitError(
            f"{run.path} has prompts but no pictures.", "Make some with `evalkit generate`."
        )
    everything = {model: run.records(model) for model in models}
    per_prompt = max(
        (record.sample + 1 for records in everything.values() for record in records), default=1
    )
    sets = []
    for model, records in everything.items():
        made, wall = [record for record in records if record.status == "ok"], _firewall(run, model)
        files = [
            ImageFile(run.image_path(model, record), record.sha256, seen=wall.see)
            for record in made
        ]
        texts = [prompts[record.index].text for record in made]
        sets.append(ImageSet(model, files, made, records, texts, len(prompts) * per_prompt, wall))
    return Source(run, sets, [prompt.text for prompt in prompts])


def _firewall(run: Run, model: str) -> Firewall:
    return Firewall(run.features_path(model, "firewall").with_suffix(".json"))


def _without_bad(images: ImageSet) -> ImageSet:
    bad = images.wall.bad(images.files)
    skipped = [item for item in bad if item is not None]
    if skipped and len(skipped) == len(images.files):
        raise_bad_images(skipped, len(images.files))  # nothing would be left to score
    kept = [place for place, item in enumerate(bad) if item is None]
    return replace(images.keep(kept), skipped=skipped)
