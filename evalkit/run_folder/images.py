"""The part of a run that generation writes: prompts, models, images and their manifests."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError, Prompt, Record
from evalkit.files import (
    append_lines,
    checked,
    fsync_folder,
    read_lines,
    remove,
    with_check,
    write_atomically,
)
from evalkit.hints import plural
from evalkit.locks import alone, is_locked
from evalkit.run_folder.names import IMAGE_FILE, Names, folder_name, image_file
from evalkit.run_folder.reading import check_model, reading, typed
from evalkit.shards import WHOLE, Shard

NO_IMAGE = "no image in the folder for this prompt"  # the detail of a record


class Images(Names):
    """Prompts, models and images of a run."""

    @property
    def is_run(self) -> bool:
        """Whether there is a prompts.jsonl, sound or not, or the images of a run without it."""
        return os.path.lexists(self.prompts_path) or bool(self.models())

    def making_images(self, shard: Shard) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process makes images of this shard: each would be made twice.

        Raises EvalkitError if there is one, or one that divides the run in another way.
        """
        return self._one_per_shard("images", f"making the images of {self.path}", shard)

    def encoding(self, shard: Shard) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process encodes the images of this shard."""
        return self._one_per_shard("encoding", f"encoding the images of {self.path}", shard)

    @contextlib.contextmanager
    def _one_per_shard(self, work: str, doing: str, shard: Shard) -> Iterator[None]:
        refusal, whole = f"Another process is {doing}", shard.is_whole
        own = self.path / f".{work}.{shard.name}.lock"
        with alone(own, f"{refusal}{'' if whole else f' (shard {shard})'}."):
            for other in sorted(self.path.glob(f".{work}.*-of-*.lock")):
                name = other.name.split(".")[2]
                if not name.endswith(shard.name.partition("-")[2]) and is_locked(other):
                    raise EvalkitError(
                        f"{refusal} (shard {name.replace('-of-', '/')}), which excludes"
                        f" {'the whole run' if whole else f'shard {shard}'}.",
                        "Wait until it ends, or stop it.",
                        code="run_folder-1",
                    )
            yield

    def beginning(self) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process writes what the run is; waits for one."""
        return alone(self.path / ".begin.lock")

    # --- prompts ---
    def write_prompts(self, prompts: Sequence[Prompt]) -> None:
        lines = (json.dumps(dataclasses.asdict(prompt), ensure_ascii=False) for prompt in prompts)
        write_atomically(self.prompts_path, "".join(f"{line}\n" for line in lines))

    def require_folder(self) -> None:
        """Raise EvalkitError if the folder does not exist: then no file is missing in it."""
        if not self.path.is_dir():
            raise EvalkitError(
                f"There is no folder {self.path}.",
                "Check the path, or make a run with `evalkit run`.",
                code="run_folder-17",
            )

    def prompts(self) -> list[Prompt]:
        """All prompts in order. Raises EvalkitError if the folder is not a run."""
        if not os.path.lexists(self.prompts_path):
            if self.models():
                raise EvalkitError(
                    f"{self.prompts_path} is missing, and the folder has images: their prompts are"
                    " unknown.",
                    "Restore the file, or write it again from the same prompts: `evalkit generate"
                    f" --prompts PROMPTS --out {shlex.quote(str(self.path))}`.",
                    code="run_folder-2",
                )
            self.require_folder()
            raise EvalkitError(
                f"{self.path} is not a run folder: it has no prompts.jsonl.",
                "Make one with `evalkit run`.",
                code="run_folder-3",
            )
        with reading(self.prompts_path):
            # Not splitlines(): it would also split at U+2028, which a prompt may contain.
            lines = self.prompts_path.read_text(encoding="utf-8").split("\n")
            prompts = [typed(Prompt, json.loads(line)) for line in lines if line]
        most = Counter(prompt.id for prompt in prompts).most_common(1)
        if most and most[0][1] > 1:
            raise EvalkitError(
                f"{self.prompts_path} has the id {most[0][0]!r:.80} {most[0][1]} times; expected an"
                " id of its own for each prompt.",
                "Restore the file, or start again in another folder.",
                code="run_folder-4",
            )
        return prompts

    def restore_prompts(self, given: Sequence[Prompt]) -> None:
        """Write a lost prompts.jsonl again from the prompts that all images were made for.

        Raises EvalkitError for other prompts than those of the manifests.
        """
        models = self.models()
        if os.path.lexists(self.prompts_path) or not models:
            return
        for model in models:
            for record in self.records(model, check=False):
                known = given[record.index].sha256 if record.index < len(given) else None
                if known != record.prompt_sha256:
                    raise EvalkitError(
                        f"{self.prompts_path} is missing, and the given prompts are not those of"
                        f" the images: {model!r} was given another prompt {record.prompt!r}.",
                        "Restore the file, or give the prompts of the run with `--prompts`.",
                        code="run_folder-5",
                    )
        self.write_prompts(given)

    # --- images and their manifests ---
    def models(self) -> list[str]:
        """The labels of the registered models, in the order of `models` in run.toml.

        Raises EvalkitError for images of a model whose model.json is missing or damaged.
        """
        if not os.path.isdir(self.path):  # unlike glob, takes names that no folder can have
            return []
        notes = []
        for folder in (self.path / "images").glob("*"):
            path = folder / "model.json"
            if os.path.lexists(path):
                notes.append(self._model(path))
            elif any(folder.glob("manifest.*.jsonl")):
                model = shlex.quote(f"{folder.name}={folder}")
                prompts = shlex.quote(str(self.prompts_path))
                raise EvalkitError(
                    f"{path} is missing, and the folder has images of a model.",
                    "Restore the file; or take the images into another run: `evalkit run --models"
                    f" {model} --prompts {prompts} --out NEW`; or remove the folder.",
                    code="run_folder-6",
                )
        return [label for _, label in sorted((note["order"], note["label"]) for note in notes)]

    def register_model(
        self,
        label: str,
        spec: str,
        order: int,
        fingerprint: str = "",
        bundled: bool = False,
        settings: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the model's folder with model.json.

        `order` is its place among the models; `bundled`: it draws the bundled data set; `settings`
        as used: device, number format, steps and so on, without those that are not known;
        `options` as given.
        """
        note = {
            "label": label,
            "spec": spec,
            "order": order,
            "fingerprint": fingerprint,
            "bundled": bundled,
            "settings": dict(settings or {}),
        }
        self.write_model(label, note if options is None else note | {"options": dict(options)})

    def write_model(self, label: str, note: Mapping[str, Any]) -> None:
        """model.json with this content."""
        text = json.dumps(with_check(note), ensure_ascii=False)
        write_atomically(self.image_folder(label) / "model.json", text)

    def model(self, label: str) -> dict[str, Any]:
        """The content of model.json; empty for a model that the run does not have."""
        path = self.image_folder(label) / "model.json"
        return self._model(path) if os.path.lexists(path) else {}

    def _model(self, path: Path) -> dict[str, Any]:
        with reading(path):
            note = checked(json.loads(path.read_text(encoding="utf-8")))
            check_model(note)
        folder, own = path.parent, folder_name(note["label"])
        if folder.name != own:
            raise EvalkitError(
                f"{path} is of the model {note['label']!r}, whose folder is images/{own}: the"
                " folder was renamed or copied.",
                f"Rename {folder} to {folder.with_name(own)}, or move it out of the run.",
                code="run_folder-7",
            )
        return note

    def write_unmatched(self, model: str, text: str) -> None:
        """unmatched.txt, where there is something in it; an earlier one is removed."""
        path = self.image_folder(model) / "unmatched.txt"
        if text:
            write_atomically(path, text)
        else:
            remove(path)

    def unmatched(self, model: str) -> list[tuple[str, str]]:
        """The files of unmatched.txt, each with the reason why it is not taken."""
        path = self.image_folder(model) / "unmatched.txt"
        if not os.path.lexists(path):
            return []
        with reading(path):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        rows = (line.split("\t") for line in lines)
        return [(row[1], row[2]) for row in rows if len(row) == 3 and row[0] in ("file", "image")]

    def save_image(self, model: str, record: Record, png: bytes, requested: int = 1) -> Record:
        """Write the image and return the record with `file` and `sha256` filled in.

        The caller appends the record to the manifest. `requested`: images of the model in the run.
        """
        name = image_file(record.index, record.sample, requested)
        folder = self.image_folder(model)
        write_atomically(folder / name, png)
        if "/" in name:  # it may be made again in a run that was smaller
            remove(folder / Path(name).name)
        return dataclasses.replace(record, file=name, sha256=hashlib.sha256(png).hexdigest())

    def append_records(self, model: str, records: Iterable[Record], shard: Shard = WHOLE) -> None:
        """Append to the manifest of this shard, after the images: a row means a complete file."""
        path = self.image_folder(model) / f"manifest.{shard.index}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(records)
        # The images' names reach the disk before their rows.
        for folder in {path.parent, *((path.parent / row.file).parent for row in rows if row.file)}:
            fsync_folder(folder)
        append_lines(path, map(dataclasses.asdict, rows))

    def append_requests(
        self, model: str, rows: Iterable[Mapping[str, Any]], shard: Shard = WHOLE
    ) -> None:
        """Append to the journal of this shard, its requests to a service, before they are sent.

        After a kill, the journal shows which requests were in flight.
        """
        append_lines(self.image_folder(model) / f"requests.{shard.index}.jsonl", rows)

    def requests(self, model: str) -> list[dict[str, Any]]:
        """The journal rows of all shards in order of time (see remote/journal.py)."""
        rows: list[dict[str, Any]] = []
        for path in sorted(self.image_folder(model).glob("requests.*.jsonl")):
            with reading(path):
                for row in read_lines(path):
                    _ = int(row["index"]), int(row["sample"]), str(row["status"])
                    _ = float(row["at"]), float(row.get("price") or 0)
                    rows.append(row)
        return sorted(rows, key=lambda row: row["at"])

    def records(self, model: str, check: bool = True) -> list[Record]:
        """The manifest rows of all shards, one per image, in the order of prompts and samples.

        Of several rows for one image, the last successful one counts, else the last one. Where
        several shards have made different images, as a service may in place of a lost one, the row
        of the image that is there counts: the order of their rows is not known.

        check: raise EvalkitError unless prompts.jsonl has the prompts of the rows.
        """
        merged: dict[tuple[int, int], Record] = {}
        several: dict[tuple[int, int], list[Record]] = {}
        for path in sorted(self.image_folder(model).glob("manifest.*.jsonl")):
            with reading(path):
                records = [_current(typed(Record, row)) for row in read_lines(path)]
                if not all(one.index >= 0 and one.sample >= 0 for one in records):
                    raise ValueError("a negative place")
                if not all(IMAGE_FILE.fullmatch(one.file or "none") for one in records):
                    raise ValueError("a file elsewhere")
            own: dict[tuple[int, int], Record] = {}
            for record in records:
                _keep_last(own, record)
            for key, record in own.items():
                known = merged.get(key, record)
                if known.status == record.status == "ok" and known.sha256 != record.sha256:
                    several.setdefault(key, [known]).append(record)
                _keep_last(merged, record)
        for key, rows in several.items():
            merged[key] = next((one for one in rows if self._is_there(model, one)), rows[-1])
        found = [merged[key] for key in sorted(merged)]
        if check:
            self._check_prompts(model, found)
        return found

    def _is_there(self, model: str, record: Record) -> bool:
        """Whether the file of a row is the image that it states."""
        path = self.image_path(model, record)
        found = path.read_bytes() if path.is_file() else b""
        return hashlib.sha256(found).hexdigest() == record.sha256

    def _check_prompts(self, model: str, records: Sequence[Record]) -> None:
        """Raise EvalkitError unless the prompts are those that the images were made for."""
        known = [record for record in records if record.prompt_sha256]
        prompts = self.prompts() if known else []
        hint = "Restore the file, or start again in another folder."
        for record in known:
            if record.index >= len(prompts):
                raise EvalkitError(
                    f"{self.prompts_path} has {plural(len(prompts), 'prompt')}, fewer than the"
                    f" manifest of {model!r} names: lines are missing.",
                    hint,
                    code="run_folder-8",
                )
            prompt = prompts[record.index]
            if prompt.id != record.prompt:
                raise EvalkitError(
                    f"{self.prompts_path} has the prompt {prompt.id!r} where the manifest of"
                    f" {model!r} has {record.prompt!r}: the file has changed.",
                    hint,
                    code="run_folder-9",
                )
            if prompt.sha256 != record.prompt_sha256:
                raise EvalkitError(
                    f"{self.prompts_path} has another text or group for the prompt {prompt.id!r}"
                    f" than when the manifest of {model!r} was written: the file has changed.",
                    hint,
                    code="run_folder-10",
                )


def _keep_last(merged: dict[tuple[int, int], Record], record: Record) -> None:
    """Keep the last successful row of an image, else the last one."""
    known = merged.get((record.index, record.sample))
    if known is None or record.status == "ok" or known.status != "ok":
        merged[(record.index, record.sample)] = record


def _current(record: Record) -> Record:
    """A record of an earlier version, in which a missing image of a folder was a bad request."""
    if (record.status, record.detail) == ("bad_request", NO_IMAGE):
        return dataclasses.replace(record, status="missing")
    return record
