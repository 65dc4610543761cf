"""The images to score: those of a run's models, or those of a folder, zip, tar or array."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError, Prompt, Record, Request
from evalkit.escape import visible
from evalkit.features.changed import changed_images, make_again
from evalkit.features.image_file import ImageFile
from evalkit.features.validation import ImageValidation, OnBad, check_policy
from evalkit.hints import did_you_mean, plural
from evalkit.images import (
    InvalidImage,
    content_sha256,
    raise_invalid_images,
)
from evalkit.prompts.perturb import originals_of
from evalkit.run_folder import Run, folder_name
from evalkit.seeds import original_id
from evalkit.shards import WHOLE, Shard
from evalkit.sources import matching_files, missing_images, not_taken, open_source
from evalkit.specs import split_run
from evalkit.terminal import track


@dataclass(frozen=True)
class ImageSet:
    """The images of one model; rows of `files`, `records` and `texts` correspond."""

    model: str
    files: list[ImageFile]
    records: list[Record]  # of the images in `files`
    all_records: list[Record]  # refusals and failures too
    texts: list[str] | None  # the prompts; None for images without a run
    requested: int
    validation: ImageValidation = field(default_factory=ImageValidation)
    # Invalid images: counted in `requested`, absent from `files` and `records`.
    skipped: list[InvalidImage] = field(default_factory=list)
    left: Sequence[tuple[str, str]] = ()  # the files that are not taken, each with the reason
    missing: Sequence[Request] = ()  # without any outcome, or without an image in the folder
    samples: int = 1  # requested images per prompt
    variants: Set[int] = frozenset()  # the positions of prompts that are variants of others
    root: Path | None = None  # of the run: findings name its files relative to it

    def absent(self) -> dict[str, Any]:
        """The files that are not taken and the images that are missing (see `sources.absent`)."""
        missing = missing_images(self.missing, self.requested)
        return {"not_taken": not_taken(self.left), "missing": missing}

    def findings(self) -> dict[str, Any]:
        """What was taken and what was not, as plain values (see `validation.summary`)."""
        found = self.validation.findings(self.files, self.skipped, self.root)
        # A run keeps images of a folder as plain RGB; what was done to them is in the manifest.
        notes = Counter(one.extra for one in self.records if one.source and one.extra)
        return (
            found
            | {"applied": dict((notes + Counter(found["applied"])).most_common())}
            | self.absent()
        )

    def keep(self, places: Sequence[int]) -> ImageSet:
        """The images at these places."""
        texts = None if self.texts is None else [self.texts[place] for place in places]
        return replace(
            self,
            files=[self.files[place] for place in places],
            records=[self.records[place] for place in places],
            texts=texts,
        )

    def of_prompts(self, members: Set[int]) -> ImageSet:
        """The images of the prompts at these positions, with what was requested for them."""
        places = [at for at, record in enumerate(self.records) if record.index in members]
        return replace(
            self.keep(places),
            all_records=[record for record in self.all_records if record.index in members],
            missing=[request for request in self.missing if request.index in members],
            requested=self.samples * len(members),
            variants=self.variants & members,
        )

    def originals(self) -> ImageSet:
        """The images of the prompts as they were given, without those of variants."""
        if not self.variants:
            return self
        return self.of_prompts(set(range(self.requested // self.samples)) - self.variants)


class ImageSets(NamedTuple):
    run: Run  # the folder for results
    sets: list[ImageSet]
    prompts: list[str]  # all prompts of the run; empty for images without a run


def results_folder(path: Path | str) -> Path:
    """Where `score` writes: the run folder, or `reports/<name>-<hash of the path>` for others.

    Raises EvalkitError if there is nothing at the path.
    """
    folder = Path(os.path.expanduser(path))
    if not os.path.lexists(folder):
        matching_files(str(folder))  # raises, unless it is a pattern of files
    if Run(folder).is_run:
        return folder
    whole = Path(os.path.realpath(folder))  # unlike resolve(), takes a loop of links
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()
    return Path("reports") / f"{folder_name(visible(whole.name))[:40]}-{digest[:8]}"


def image_sets(
    path: Path,
    on_bad: OnBad = "refuse",
    models: Sequence[str] = (),
    shard: Shard = WHOLE,
) -> ImageSets:
    """The images to score. Raises EvalkitError if there are none.

    Args:
        on_bad: with "refuse", an invalid image is an error when it is encoded. With "skip", all
            images are validated now, and `files` has the valid ones.
        models: labels of the models of a run; () for all.
        shard: the images of which prompts of a run; all images of a prompt are together.
    """
    check_policy(on_bad)
    run = Run(path)
    path = run.path
    found = _of_run(run, models, shard) if run.is_run else _without_run(path)
    changed = {images.model: changed_images(images.files) for images in found.sets if found.prompts}
    if on_bad == "refuse":
        if bad := [item for items in changed.values() for item in items.values()]:
            total = sum(len(images.files) for images in found.sets)
            skip = f"evalkit score {shlex.quote(str(path))} --on-bad skip"
            raise_invalid_images(bad, total, f"{make_again(run)} To leave them out: `{skip}`.")
        return found
    return found._replace(
        sets=[
            _without_invalid(images, changed.get(images.model, {}), shard.is_whole)
            for images in found.sets
        ]
    )


def one_image_set(path: Path) -> tuple[Run, ImageSet]:
    """The images of one model without variants of prompts, and the folder for results.

    path: images, a run of one model, or `RUN:LABEL`. Raises EvalkitError for several models, and
    for a label that the run does not have.
    """
    place, label = split_run(str(path))
    if label and Run(place).is_run:
        if label not in (known := Run(place).models()):
            raise EvalkitError(
                f"{place} has no model {label!r}.", did_you_mean(label, known), code="features-6"
            )
        run, sets, _ = image_sets(place, models=(label,))
    else:
        run, sets, _ = image_sets(path)
    if len(sets) > 1:
        names = [images.model for images in sets]
        raise EvalkitError(
            f"{path} is a run of several models ({', '.join(names)}).",
            f"Name one: {path}:{names[0]}.",
            code="features-7",
        )
    return run, sets[0].originals()


def _without_run(path: Path) -> ImageSets:
    """The images of a folder, zip, tar or array."""
    # Read while an encoder may change the directory.
    source, run = open_source(path.absolute()), Run(results_folder(path))
    model = visible(path.resolve().name)  # a name of other bytes than UTF-8 is no text
    validation = _validation(run, model)
    files: list[ImageFile] = []
    for image in track(source, "reading images", source.count):
        place = path / image.name.lstrip("/")
        try:
            digest = content_sha256(image.read())
        except OSError:  # an invalid image; validation reports it
            unreadable = f"unreadable:{place}".encode("utf-8", "surrogateescape")
            digest = hashlib.sha256(unreadable).hexdigest()
        files.append(ImageFile(place, digest, image.read, validation.add))
    if not files:
        raise EvalkitError(
            f"{path} has no images.",
            "Give a folder of images, a zip, tar shards or an array.",
            code="features-8",
        )
    records = [
        Record(str(place), place, 0, 0, "ok", str(file.path), file.sha256)
        for place, file in enumerate(files)
    ]
    left = list(source.left.items())
    images = ImageSet(model, files, records, records, None, len(files), validation, left=left)
    return ImageSets(run, [images], [])


def _of_run(run: Run, chosen: Sequence[str], shard: Shard) -> ImageSets:
    prompts, models = run.prompts(), run.models()
    of = {prompt.id: prompt.text for prompt in prompts}
    variants = frozenset(originals_of(prompts))
    # An image of a variant of a prompt is measured against the original.
    asked = [of.get(original_id(prompt.id), prompt.text) for prompt in prompts]
    if not models:
        raise EvalkitError(
            f"{run.path} has prompts but no images.",
            "Generate images with `evalkit generate`.",
            code="features-9",
        )
    everything = {model: run.records(model) for model in models}
    per_prompt = max(
        (record.sample + 1 for records in everything.values() for record in records), default=1
    )
    requested = len(prompts) * per_prompt
    sets = []
    for model in chosen or models:
        records = everything[model]
        if not all(record.index < len(prompts) for record in records):
            raise EvalkitError(
                f"{run.prompts_path} has {plural(len(prompts), 'prompt')}, fewer than the manifest"
                f" of {model!r} names: lines are missing.",
                "Restore the file, or start again in another folder.",
                code="features-10",
            )
        for record in records:
            if record.prompt != prompts[record.index].id:
                raise EvalkitError(
                    f"{run.prompts_path} has the prompt {prompts[record.index].id!r} where the"
                    f" manifest of {model!r} has {record.prompt!r}: the file has changed.",
                    "Restore the file, or start again in another folder.",
                    code="features-11",
                )
        mine = [one for one in records if one.index % shard.count == shard.index]
        ok = [record for record in mine if record.status == "ok"]
        validation = _validation(run, model, shard)
        files = [
            ImageFile(path.absolute(), record.sha256, on_decoded=validation.add)
            for record in ok
            for path in [run.image_path(model, record)]
        ]
        texts = [asked[record.index] for record in ok]
        left, missing = run.unmatched(model), _missing(prompts, per_prompt, records)
        sets.append(
            ImageSet(
                model,
                files,
                ok,
                records,
                texts,
                requested,
                validation,
                left=left,
                missing=missing,
                samples=per_prompt,
                variants=variants,
                root=run.path.absolute(),
            )
        )
    return ImageSets(run, sets, asked)


def _missing(
    prompts: Sequence[Prompt], per_prompt: int, records: Sequence[Record]
) -> list[Request]:
    """The requests without any outcome, and those for which a folder has no image."""
    known = {(one.index, one.sample) for one in records if one.status != "missing"}
    return [
        Request(prompt, index, sample, 0)
        for index, prompt in enumerate(prompts)
        for sample in range(per_prompt)
        if (index, sample) not in known
    ]


def _validation(run: Run, model: str, shard: Shard = WHOLE) -> ImageValidation:
    return ImageValidation(run.validation_path(model).absolute(), shard)


def _without_invalid(
    images: ImageSet, changed: Mapping[int, InvalidImage], whole: bool = True
) -> ImageSet:
    """The valid images. Raises EvalkitError if the whole set has none."""
    known = [file for place, file in enumerate(images.files) if place not in changed]
    rest = iter(images.validation.invalid(known))
    invalid = [changed[at] if at in changed else next(rest) for at in range(len(images.files))]
    skipped = [item for item in invalid if item is not None]
    if skipped and len(skipped) == len(images.files) and whole:
        raise_invalid_images(skipped, len(images.files))
    kept = [place for place, item in enumerate(invalid) if item is None]
    return replace(images.keep(kept), skipped=skipped)
