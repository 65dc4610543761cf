"""Images of a run that are not those of its manifests any more, or not those that were scored.

Features are found by the hash in the manifest, and a page links to files by their names, so nothing
else would notice. Every file is hashed: one that was put there later may have any time of change.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.core import Record
from evalkit.features.image_file import ImageFile
from evalkit.images import (
    InvalidImage,
    Unreadable,
    content_sha256,
    raise_invalid_images,
    read_bytes,
)
from evalkit.run_config import lost_models
from evalkit.run_folder import Run
from evalkit.terminal import track

log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """What a page or a table of a run has to say."""

    files: Mapping[str, frozenset[str]]  # by model: `file` of images that are gone or have changed
    said: Sequence[str]  # in sentences


def changed_images(files: Sequence[ImageFile]) -> dict[int, InvalidImage]:
    """The images that are gone or whose content has another hash, by place."""
    found: dict[int, InvalidImage] = {}
    for place, file in enumerate(track(files, "checking images", len(files))):
        try:
            if _sha256(file.path) != file.sha256:
                found[place] = InvalidImage(file.path, Unreadable("has changed", "changed"))
        except (OSError, ValueError) as error:  # the second one for a name that no file can have
            why = getattr(error, "strerror", "") or error
            reason = Unreadable(f"cannot be read ({why})", "cannot be read")
            found[place] = InvalidImage(file.path, reason)
    return found


def image_files(run: Run, model: str, records: Iterable[Record]) -> list[ImageFile]:
    """The files of the records that have an image."""
    return [
        ImageFile(run.image_path(model, record), record.sha256)
        for record in records
        if record.status == "ok"
    ]


def mention_changes(run: Run, models: Iterable[str]) -> Changes:
    """What has changed since the images were made, and since they were scored; it is logged."""
    files: dict[str, frozenset[str]] = {}
    said: list[str] = []
    for model in models:
        records = run.records(model)
        made = [record for record in records if record.status == "ok"]
        found = [made[at].file for at in changed_images(image_files(run, model, made))]
        files[model] = frozenset(found)
        if found:
            said.append(
                f"{len(found)} of {len(made)} images of {model} are gone or have changed since"
                f" they were made; the first one is {found[0]}."
            )
        if run.is_stale(model, records):
            said.append(
                f"The images of {model} are not those that were scored"
                f"{_then_and_now(run, model, len(made))}: score it again."
            )
    said += [f"{lost} The model is left out." for lost in lost_models(run).values()]
    for sentence in said:
        log.warning("%s: %s", run.path, sentence)
    return Changes(files, said)


def _then_and_now(run: Run, model: str, now: int) -> str:
    """How many images there were at the last scoring and are now; "" where that is the same."""
    counts = run.protocol().get("counts")
    own = counts.get(model) if isinstance(counts, Mapping) else None
    then = own.get("ok") if isinstance(own, Mapping) else None
    return f" ({then:,} then, {now:,} now)" if isinstance(then, int) and then != now else ""


def make_again(run: Run) -> str:
    """The hint on images that are gone or have changed."""
    if os.path.lexists(run.sources_path):  # a comparison, whose images are those of other runs
        return "Delete the folder and compare the runs again."
    if not run.config_path.is_file():
        return "Restore them, or make them again with the command of the run."
    return f"Make them again with `evalkit run --config {shlex.quote(str(run.config_path))}`."


def mention_lost(run: Run) -> None:
    """A line in the log for each model whose folder is gone; the caller leaves it out."""
    again = f"evalkit run --config {shlex.quote(str(run.config_path))}"
    for sentence in lost_models(run).values():
        log.warning(
            "%s: %s The model is left out; make its images again with `%s`, or take it out of"
            " `models` in run.toml",
            *(run.path, sentence, again),
        )


def refuse_changes(run: Run, models: Iterable[str]) -> None:
    """Raise EvalkitError if an image is gone or has changed."""
    images = [one for model in models for one in image_files(run, model, run.records(model))]
    if found := changed_images(images):
        raise_invalid_images(list(found.values()), len(images), make_again(run))


def _sha256(path: Path) -> str:
    """The hash of a file; read once in a process, as long as the file stays the same."""
    state = path.stat()
    return _hashed(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@functools.lru_cache(maxsize=100_000)
def _hashed(path: Path, *state: int) -> str:
    return content_sha256(read_bytes(path))
