"""The models of several runs in one run folder: images by hard link, records, cached features.

The folder is an ordinary run. sources.json says where each model comes from. prompts.jsonl is
written last: without it, no command takes the folder for a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.compare.entries import Entry
from evalkit.config import Config, Options
from evalkit.core import EvalkitError, Prompt, Record
from evalkit.features.changed import changed_images, image_files, make_again
from evalkit.features.parts import SHARDS
from evalkit.features.validation import OnBad
from evalkit.files import remedy, write_atomically
from evalkit.generate.generate import model_text
from evalkit.images import raise_invalid_images
from evalkit.locks import lock, open_folder
from evalkit.ratings.files import ratings_of
from evalkit.run_config import run_config
from evalkit.run_folder import Run, image_file
from evalkit.score.evidence import TEXTS
from evalkit.score.resources import only_bundled
from evalkit.score.settings import Settings
from evalkit.specs import relative_to


@dataclass(frozen=True)
class Shared:
    """The prompts that all models have, and how many images of each."""

    prompts: list[Prompt]
    per_prompt: int

    def records(self, entry: Entry) -> list[tuple[Record, Record]]:
        """The records of a model for these images: as in its run, and as in the comparison."""
        place = {prompt.id: at for at, prompt in enumerate(self.prompts)}
        found, requested = [], len(self.prompts) * self.per_prompt
        for record in entry.run.records(entry.label):
            if record.prompt in place and record.sample < self.per_prompt:
                at = place[record.prompt]
                new = replace(record, index=at)
                if record.file:
                    suffix = Path(record.file).suffix
                    new = replace(new, file=image_file(at, record.sample, requested, suffix))
                if record.prompt_sha256:  # the groups may be those of another run
                    new = replace(new, prompt_sha256=self.prompts[at].sha256)
                found.append((record, new))
        return sorted(found, key=lambda pair: (pair[1].index, pair[1].sample))


def shared(entries: Sequence[Entry]) -> Shared:
    """What all models have, in the order of the first run.

    Raises EvalkitError if there is no prompt in common.
    """
    prompts = [
        prompt
        for prompt in entries[0].run.prompts()
        if all(entry.outline.prompts.get(prompt.id) == prompt.text for entry in entries)
    ]
    if not prompts:
        raise EvalkitError(
            "The runs have no prompt in common; prompts are matched by id and text.",
            "Make the runs with one prompt list.",
            code="compare-1",
        )
    return Shared(prompts, min(entry.outline.conditions["per_prompt"] for entry in entries))


def digest(records: Iterable[Record]) -> str:
    """SHA-256 of records: it changes with every image."""
    text = json.dumps([asdict(record) for record in records], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_images(entries: Sequence[Entry], common: Shared, on_bad: OnBad) -> None:
    """Raise EvalkitError for images that are gone or have changed, unless they are skipped."""
    for entry in entries:
        for _ in _files(entry, common.records(entry), on_bad):
            pass


def assemble(
    run: Run,
    entries: Sequence[Entry],
    common: Shared,
    sources: Mapping[str, Any],
    settings: Settings,
    on_bad: OnBad,
) -> None:
    """Write the folder; what an earlier call put there is replaced.

    Raises EvalkitError for images that are gone or have changed, and for a folder with content that
    would be lost.
    """
    records = {entry.name: common.records(entry) for entry in entries}
    files = {entry.name: list(_files(entry, records[entry.name], on_bad)) for entry in entries}
    _check_own_content(run)
    with _alone(run):
        _clear(run)
        run.write_sources(sources)
        for order, entry in enumerate(entries):
            for source, name in files[entry.name]:
                _link(source, run.image_folder(entry.name) / name)
            _write_model(run, entry, order)
            run.append_records(entry.name, [new for _, new in records[entry.name]])
            _write_requests(run, entry, records[entry.name])
        link_features(run, entries)
        _write_config(run, entries, common, settings)
        run.write_prompts(common.prompts)


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Lock the folder; whatever fails to be written becomes one sentence."""
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        handle = open_folder(run.path)
        try:
            if not lock(handle, run.path):
                raise EvalkitError(
                    f"Another process writes the comparison {run.path}.",
                    "Wait until it ends.",
                    code="compare-2",
                )
            yield
        finally:
            os.close(handle)
    except OSError as error:
        raise EvalkitError(
            f"Could not write {run.path}: {error.strerror}.",
            remedy(error, "choose another --out"),
            code="compare-3",
        ) from error


def _files(
    entry: Entry, records: Sequence[tuple[Record, Record]], on_bad: OnBad
) -> Iterator[tuple[Path, str]]:
    """The images of a model, each with its name in the comparison."""
    made = [(old, new) for old, new in records if old.status == "ok"]
    images = image_files(entry.run, entry.label, [old for old, _ in made])
    changed = changed_images(images)
    if changed and on_bad == "refuse":
        raise_invalid_images(list(changed.values()), len(images), make_again(entry.run))
    for at, (image, (_, new)) in enumerate(zip(images, made, strict=True)):
        if at not in changed:  # else it is skipped, as in its run
            yield image.path, new.file


def _check_own_content(run: Run) -> None:
    """Refuse to replace what did not come from the compared runs, and cannot be made again."""
    if run.ratings_path.is_dir() and ratings_of(run):
        what = "ratings of images that would be replaced"
    elif not run.prompts_path.is_file():  # a call was interrupted
        return
    else:
        models = run.sources().get("models", {})
        put = {name: one.get("images") for name, one in models.items()}
        if put == {name: digest(run.records(name)) for name in run.models()}:
            return
        what = "images that did not come from the compared runs"
    raise EvalkitError(
        f"{run.path} compares an earlier state of these runs, and it has {what}.",
        "Choose another --out.",
        code="compare-4",
    )


def _clear(run: Run) -> None:
    """Remove what an earlier call put there; without prompts.jsonl, the folder is no run."""
    for path in (
        run.prompts_path, run.metrics_path, run.comparisons_path, run.scores_path,
        run.protocol_path, run.image_checks_path, run.report_path / "index.html",
        run.gate_path, run.flat_metrics_path, run.checksums_path,
    ):  # fmt: skip
        path.unlink(missing_ok=True)
    for name in ("images", "features"):
        if (run.path / name).is_dir():
            shutil.rmtree(run.path / name)


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system refuses a link.

    evalkit replaces files, so neither of the two changes the other. Lines are added to the answers
    of scorers only: these are copied.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.suffix == ".jsonl":
            shutil.copyfile(source, target)
            return
        os.link(os.path.realpath(source), target)
    except FileExistsError:
        return
    except OSError:
        shutil.copyfile(source, target)


def _write_model(run: Run, entry: Entry, order: int) -> None:
    """model.json as in its run, with a path that starts from here."""
    note = entry.run.model(entry.label)
    spec, bundled = relative_to(run.path, entry.spec), only_bundled(entry.run, [entry.label])
    note |= {"label": entry.name, "spec": spec, "order": order, "bundled": bundled}
    run.write_model(entry.name, note)
    unmatched = entry.run.image_folder(entry.label) / "unmatched.txt"
    if unmatched.is_file():
        _link(unmatched, run.image_folder(entry.name) / "unmatched.txt")


def _write_requests(run: Run, entry: Entry, records: Sequence[tuple[Record, Record]]) -> None:
    """The journal of a service: a request without a record may have been charged."""
    place = {(old.index, old.sample): new.index for old, new in records}
    journal = entry.run.requests(entry.label)
    rows = [
        row | {"index": place[key]}
        for row in journal
        if (key := (row["index"], row["sample"])) in place
    ]
    if rows:
        run.append_requests(entry.name, rows)


def link_features(run: Run, entries: Sequence[Entry]) -> None:
    """Take over the cached features of all models; those that are already there stay."""
    for entry in entries:
        _link_features(entry.run, entry.label, run, entry.name)
        _link_features(entry.run, TEXTS, run, TEXTS)


def _link_features(source: Run, label: str, run: Run, name: str) -> None:
    """The caches are found by the content of each image, so they hold for any part of them."""
    folder = source.features_path(label, "any").parent
    for path in sorted([*folder.glob("[!.]*"), *folder.glob(f"{SHARDS}/*/[!.]*")]):
        target = run.features_path(name, "any").parent / path.relative_to(folder)
        if path.is_file() and not target.exists():
            _link(path, target)


def _write_config(run: Run, entries: Sequence[Entry], common: Shared, settings: Settings) -> None:
    options: dict[str, Any] = {}
    for entry in entries:
        given: Options = run_config(entry.run).get("options", {})
        made_with = run.model(entry.name).get("options", {})  # also without a run.toml
        if known := {**given.get(entry.label, {}), **made_with}:
            options[entry.name] = known
    config = Config(
        models=tuple(model_text(run, e.name, run.model(e.name)["spec"]) for e in entries),
        prompts="prompts.jsonl",
        out=".",
        per_prompt=common.per_prompt,
        seed=entries[0].outline.conditions["seed"] or 0,  # "": not recorded
        reference=relative_to(run.path, settings.reference) if settings.reference else None,
        metrics=settings.metrics,
        encoders=settings.encoders,
        precision=settings.precision,
        options=options,
        scorers=settings.tables(),
    )
    comment = "# Written by `evalkit compare`; see sources.json. Paths are relative to this file."
    write_atomically(run.config_path, f"{comment}\n{config.to_toml()}")
