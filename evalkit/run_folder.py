"""A run is a folder. Only this module defines the names of the files in it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from evalkit.core import (
    AgreementRow,
    ComparisonRow,
    Comparisons,
    EvalkitError,
    MetricRow,
    Prompt,
    Record,
)
from evalkit.escape import spreadsheet_cell, to_csv, without_guard
from evalkit.files import (
    append_lines,
    checked,
    digest,
    fsync_folder,
    read_lines,
    remove,
    with_check,
    write_atomically,
)
from evalkit.flat_metrics import flatten
from evalkit.locks import alone
from evalkit.reading import check_model, check_protocol, reading, typed

NO_IMAGE = "no image in the folder for this prompt"  # the detail of a record
SCHEMA = 1  # version of metrics.json and comparisons.json
SCORES = ("model", "index", "sample", "metric", "encoder", "value")  # columns of scores.csv
Read = TypeVar("Read")


def folder_name(label: str) -> str:
    """The name of a model's folder: its label if that is a plain name, else a part and a hash."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", label):
        return label
    plain = re.sub(r"[^a-z0-9_-]+", "-", label.lower()).strip("-")[:40] or "model"
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


class Run:
    """Reads and writes one run folder. The path is its only state; files are written atomically."""

    GATE_AGAIN = "Write it again with `evalkit gate`, or remove it."

    def __init__(self, path: os.PathLike[str] | str) -> None:
        self.path = Path(os.path.expanduser(path))  # quoted, a shell keeps `~`

    def __fspath__(self) -> str:
        """A run is a path to its folder, wherever a path is expected."""
        return str(self.path)

    # --- names ---
    @property
    def config_path(self) -> Path:
        return self.path / "run.toml"

    @property
    def prompts_path(self) -> Path:
        return self.path / "prompts.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def flat_metrics_path(self) -> Path:
        return self.path / "metrics.flat.json"

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.csv"

    @property
    def protocol_path(self) -> Path:
        return self.path / "protocol.json"

    @property
    def image_checks_path(self) -> Path:
        return self.path / "image_checks.json"

    @property
    def sources_path(self) -> Path:
        return self.path / "sources.json"

    @property
    def checksums_path(self) -> Path:
        return self.path / "checksums.json"

    @property
    def comparisons_path(self) -> Path:
        return self.path / "comparisons.json"

    @property
    def gate_path(self) -> Path:
        return self.path / "gate.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report"

    @property
    def ratings_path(self) -> Path:
        return self.path / "ratings"

    def study_path(self, study: str) -> Path:
        return self.ratings_path / f"{study}.toml"

    def rater_path(self, rater: str) -> Path:
        return self.ratings_path / f"{rater}.csv"

    @property
    def rejected_path(self) -> Path:
        return self.ratings_path / "rejected.csv"

    @property
    def excluded_path(self) -> Path:
        return self.ratings_path / "excluded.csv"

    @property
    def summary_path(self) -> Path:
        return self.ratings_path / "summary.json"

    @property
    def private_path(self) -> Path:
        return self.ratings_path / "private.json"

    def assignments_path(self, study: str) -> Path:
        return self.ratings_path / f"{study}.assignments.jsonl"

    def image_folder(self, model: str) -> Path:
        return self.path / "images" / folder_name(model)

    def image_path(self, model: str, record: Record) -> Path:
        return self.image_folder(model) / record.file

    def features_path(self, model: str, encoder: str) -> Path:
        return self.path / "features" / folder_name(model) / f"{encoder}.npz"

    def validation_path(self, model: str) -> Path:
        return self.path / "features" / folder_name(model) / "validation.json"

    def measured_path(self, model: str, metric: str) -> Path:
        return self.path / "features" / folder_name(model) / "measured" / f"{metric}.json"

    @property
    def is_scored(self) -> bool:
        """Whether there is a metrics.json, sound or not."""
        return os.path.lexists(self.metrics_path)  # takes names that no file can have

    @property
    def is_run(self) -> bool:
        """Whether there is a prompts.jsonl, sound or not, or the images of a run without it."""
        return os.path.lexists(self.prompts_path) or bool(self.models())

    # --- several processes ---
    def making_images(self, rank: int = 0) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process of this rank makes images: each would be made twice.

        Raises EvalkitError if there is one.
        """
        refusal = f"Another process is making the images of {self.path}."
        return alone(self.path / f".images.{rank}.lock", refusal)

    def writing_results(self) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process writes what is derived from images; waits for one.

        So what is read in the block belongs together. A folder that does not exist is not made.
        """
        if not os.path.isdir(self.path):
            return contextlib.nullcontext()
        return alone(self.path / ".results.lock")

    # --- prompts ---
    def write_prompts(self, prompts: Sequence[Prompt]) -> None:
        lines = (json.dumps(dataclasses.asdict(prompt), ensure_ascii=False) for prompt in prompts)
        write_atomically(self.prompts_path, "".join(f"{line}\n" for line in lines))

    def prompts(self) -> list[Prompt]:
        """All prompts in order. Raises EvalkitError if the folder is not a run."""
        if not os.path.lexists(self.prompts_path):
            if self.models():
                raise EvalkitError(
                    f"{self.prompts_path} is missing, and the folder has images: their prompts are"
                    " unknown.",
                    "Restore the file, or choose another --out.",
                )
            raise EvalkitError(
                f"{self.path} is not a run folder: it has no prompts.jsonl.",
                "Make one with `evalkit run`.",
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
            )
        return prompts

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
                raise EvalkitError(
                    f"{path} is missing, and the folder has images of a model.",
                    "Restore the file, or remove the folder.",
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
            if folder_name(note["label"]) != path.parent.name:
                raise ValueError("the file of another model")
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

    def save_image(self, model: str, record: Record, png: bytes) -> Record:
        """Write `<index>-<sample>.png` and return the record with `file` and `sha256` filled in.

        The caller appends the record to the manifest.
        """
        name = f"{record.index:05d}-{record.sample}.png"
        write_atomically(self.image_folder(model) / name, png)
        return dataclasses.replace(record, file=name, sha256=hashlib.sha256(png).hexdigest())

    def append_records(self, model: str, records: Iterable[Record], rank: int = 0) -> None:
        """Append to this rank's manifest, after the images: a row means a complete file."""
        path = self.image_folder(model) / f"manifest.{rank}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        fsync_folder(path.parent)  # the images' names reach the disk before their rows
        append_lines(path, map(dataclasses.asdict, records))

    def append_requests(self, model: str, rows: Iterable[Mapping[str, Any]], rank: int = 0) -> None:
        """Append to this rank's journal of requests to a service, before they are sent.

        After a kill, the journal shows which requests were in flight.
        """
        append_lines(self.image_folder(model) / f"requests.{rank}.jsonl", rows)

    def requests(self, model: str) -> list[dict[str, Any]]:
        """The journal rows of all ranks in order of time (see generate/remote/journal.py)."""
        rows: list[dict[str, Any]] = []
        for path in sorted(self.image_folder(model).glob("requests.*.jsonl")):
            with reading(path):
                for row in read_lines(path):
                    _ = int(row["index"]), int(row["sample"]), str(row["status"])
                    _ = float(row["at"]), float(row.get("price") or 0)
                    rows.append(row)
        return sorted(rows, key=lambda row: row["at"])

    def records(self, model: str) -> list[Record]:
        """The manifest rows of all ranks, one per image, in the order of prompts and samples.

        Of several rows for one image, the last successful one counts, else the last one.
        """
        merged: dict[tuple[int, int], Record] = {}
        for path in sorted(self.image_folder(model).glob("manifest.*.jsonl")):
            with reading(path):
                records = [_current(typed(Record, row)) for row in read_lines(path)]
                if not all(one.index >= 0 and one.sample >= 0 for one in records):
                    raise ValueError("a negative place")
            for record in records:
                known = merged.get((record.index, record.sample))
                if known is None or record.status == "ok" or known.status != "ok":
                    merged[(record.index, record.sample)] = record
        found = [merged[key] for key in sorted(merged)]
        self._check_prompts(model, found)
        return found

    def _check_prompts(self, model: str, records: Sequence[Record]) -> None:
        """Raise EvalkitError unless the prompts are those that the images were made for."""
        known = [record for record in records if record.prompt_sha256]
        prompts = self.prompts() if known else []
        hint = "Restore the file, or start again in another folder."
        for record in known:
            if record.index >= len(prompts):
                raise EvalkitError(
                    f"{self.prompts_path} has {len(prompts)} prompts, fewer than the manifest of"
                    f" {model!r} names: lines are missing.",
                    hint,
                )
            prompt = prompts[record.index]
            if prompt.id != record.prompt:
                raise EvalkitError(
                    f"{self.prompts_path} has the prompt {prompt.id!r} where the manifest of"
                    f" {model!r} has {record.prompt!r}: the file has changed.",
                    hint,
                )
            if prompt.sha256 != record.prompt_sha256:
                raise EvalkitError(
                    f"{self.prompts_path} has another text or group for the prompt {prompt.id!r}"
                    f" than when the manifest of {model!r} was written: the file has changed.",
                    hint,
                )

    # --- derived files ---
    def write_metrics(
        self, rows: Sequence[MetricRow], agreement: Sequence[AgreementRow] = ()
    ) -> None:
        """metrics.json: see score/metrics.schema.json; and metrics.flat.json of the same rows."""
        content: dict[str, Any] = {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}
        if agreement:
            content["agreement"] = [asdict(row) for row in agreement]
        remove(self.flat_metrics_path)  # after a kill it is absent, never stale
        self._write_json(self.metrics_path, content)
        self._write_json(self.flat_metrics_path, flatten(rows))

    def metrics(self) -> list[MetricRow]:
        """The rows of metrics.json. Raises EvalkitError if there is none, or if it is damaged."""
        if not self.is_scored:
            raise EvalkitError(f"{self.path} has no metrics.json.", self._score_again)

        def read(text: str) -> list[MetricRow]:
            return _rows(MetricRow, _versioned(text)["rows"])

        return self._derived(self.metrics_path, read) or []

    def agreement(self) -> list[AgreementRow]:
        """How metrics agree with raters, from metrics.json; [] for a run without ratings."""
        if not self.is_scored:
            return []

        def read(text: str) -> list[AgreementRow]:
            return _rows(AgreementRow, _versioned(text).get("agreement", []))

        return self._derived(self.metrics_path, read) or []

    def flat_metrics(self) -> dict[str, float]:
        """metrics.flat.json. Raises EvalkitError if there is none, or if it is damaged."""

        def read(text: str) -> dict[str, float]:
            return {str(name): float(value) for name, value in json.loads(text).items()}

        found = self._derived(self.flat_metrics_path, read)
        if found is None:  # a run of an earlier version
            raise EvalkitError(f"{self.path} has no metrics.flat.json.", self._score_again)
        return found

    def write_comparisons(self, comparisons: Comparisons | None) -> None:
        """comparisons.json: see score/comparisons.schema.json; None removes it."""
        if comparisons is None:
            remove(self.comparisons_path)
            return
        self._write_json(self.comparisons_path, {"schema": SCHEMA, **asdict(comparisons)})

    def comparisons(self) -> Comparisons | None:
        """comparisons.json; None for one model. Raises EvalkitError if the file is damaged."""

        def read(text: str) -> Comparisons:
            found = _versioned(text)
            rows = tuple(_rows(ComparisonRow, found["rows"]))
            by_group = found.get("group_family", 0)
            made = Comparisons(found["statement"], found["level"], found["family"], rows, by_group)
            numbers = made.level, made.family, made.group_family
            if not isinstance(made.statement, str):
                raise TypeError(made.statement)
            if not all(type(one) in (int, float) for one in numbers):
                raise TypeError(numbers)
            return made

        return self._derived(self.comparisons_path, read)

    def write_scores(self, rows: Iterable[Sequence[Any]]) -> None:
        """scores.csv: one row of SCORES per image and metric; people open it in a spreadsheet."""
        guarded = (
            (
                spreadsheet_cell(model),
                *image,
                spreadsheet_cell(metric),
                spreadsheet_cell(encoder),
                value,
            )
            for model, *image, metric, encoder, value in rows
        )
        write_atomically(self.scores_path, to_csv([SCORES, *guarded]))

    def scores(self) -> list[dict[str, str]]:
        """The rows of scores.csv; [] if there is none."""

        def read(text: str) -> list[dict[str, str]]:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            if rows and not set(SCORES) <= rows[0].keys():
                raise KeyError(*rows[0])
            for row in rows:
                _ = int(row["index"]), int(row["sample"]), float(row["value"] or "nan")
                row |= {name: without_guard(row[name]) for name in ("model", "metric", "encoder")}
            return rows

        return self._derived(self.scores_path, read) or []

    def write_summary(self, summaries: Sequence[Mapping[str, Any]]) -> None:
        """ratings/summary.json: what the raters say, one entry per question of a study."""
        self._write_json(self.summary_path, {"schema": SCHEMA, "polls": list(summaries)})

    def summary(self) -> list[dict[str, Any]]:
        """The entries of ratings/summary.json; [] for a run without ratings."""
        return self._derived(self.summary_path, lambda text: list(_versioned(text)["polls"])) or []

    def write_image_checks(self, findings: dict[str, Any]) -> None:
        """By model, what was taken and what was not, and the findings of image validation."""
        self._write_json(self.image_checks_path, findings)
        remove(self.path / "validation.json")  # its name in earlier versions

    def image_checks(self) -> dict[str, Any]:
        """image_checks.json; {} if there is none. Raises EvalkitError if the file is damaged."""

        def read(text: str) -> dict[str, Any]:
            return {str(model): dict(found) for model, found in json.loads(text).items()}

        return self._derived(self.image_checks_path, read) or {}

    def write_sources(self, sources: Mapping[str, Any]) -> None:
        """sources.json: the runs that the models of a comparison come from (see compare/)."""
        self._write_json(self.sources_path, with_check({"schema": SCHEMA, **sources}))

    def sources(self) -> dict[str, Any]:
        """sources.json; {} for a run of its own. Raises EvalkitError if the file is damaged."""
        if not os.path.lexists(self.sources_path):
            return {}
        with reading(self.sources_path, "Delete the folder and compare the runs again."):
            found = checked(_versioned(self.sources_path.read_text(encoding="utf-8")))
            _ = [(one["run"], one["label"], one["seed"]) for one in dict(found["models"]).values()]
            return found

    def write_protocol(self, protocol: dict[str, Any]) -> None:
        """protocol.json: everything that a number depends on (see score/protocol.py)."""
        self._write_json(self.protocol_path, protocol)

    def protocol(self) -> dict[str, Any]:
        """protocol.json; {} if there is none. Raises EvalkitError if the file is damaged."""

        def read(text: str) -> dict[str, Any]:
            found = json.loads(text)
            check_protocol(found)
            if found.get("schema", SCHEMA) != SCHEMA:  # of a version that states one
                raise ValueError(found["schema"])
            return found

        return self._derived(self.protocol_path, read) or {}

    def protocol_of_scores(self) -> dict[str, Any]:
        """protocol.json of a run whose images were scored.

        Raises EvalkitError unless it states the encoders and references.
        """
        found = self.protocol()
        if not all(isinstance(found.get(part), dict) for part in ("encoders", "references")):
            raise EvalkitError(
                f"{self.protocol_path} does not state what the images were scored with.",
                self._score_again,
            )
        return found

    def write_gate(self, content: Mapping[str, Any]) -> None:
        """gate.json: the decisions of `evalkit gate`."""
        self._write_json(self.gate_path, with_check(content))

    def gate(self) -> dict[str, Any]:
        """gate.json, which `evalkit gate` writes; {} if there is none."""
        if not os.path.lexists(self.gate_path):
            return {}
        with reading(self.gate_path, self.GATE_AGAIN):
            return checked(json.loads(self.gate_path.read_text(encoding="utf-8")))

    # --- what belongs together ---
    def begin_scoring(self) -> None:
        """From now until `end_scoring`, also after a kill, none of the derived files counts."""
        self._write_checksums({}, {})

    def end_scoring(self) -> None:
        """checksums.json: hashes of the derived files, and of the images that were scored."""
        images = {model: self.images_sha256(model) for model in self.models()}
        self._write_checksums(self._hashes(*self._results, *self._of_images), images)

    def renew_checksums(self) -> None:
        """The hashes of the derived files that change with ratings."""
        if known := self._checksums():
            files = known["files"] | self._hashes(*self._results)
            self._write_checksums(files, known["images"])

    @property
    def _results(self) -> tuple[Path, ...]:
        """The derived files that a scoring and a summary of ratings write."""
        measured = self.metrics_path, self.flat_metrics_path, self.comparisons_path
        return *measured, self.protocol_path, self.summary_path

    @property
    def _of_images(self) -> tuple[Path, ...]:
        """The derived files that only a scoring writes."""
        return self.scores_path, self.image_checks_path

    def _hashes(self, *paths: Path) -> dict[str, str]:
        return {
            path.relative_to(self.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file()
        }

    def _write_checksums(self, files: Mapping[str, str], images: Mapping[str, str]) -> None:
        content = {"schema": SCHEMA, "files": dict(files), "images": dict(images)}
        self._write_json(self.checksums_path, with_check(content))

    def images_sha256(self, model: str) -> str:
        """A hash of the images of a model by prompt and sample, and of the model."""
        records = [record for record in self.records(model) if record.status == "ok"]
        rows = [[one.prompt, one.sample, one.sha256, one.prompt_sha256] for one in records]
        return digest([self.model(model).get("fingerprint", ""), rows])

    def scored_images(self) -> dict[str, str]:
        """By model, `images_sha256` at the time of the last scoring; {} if it is not known."""
        return (self._checksums() or {}).get("images", {})

    def _checksums(self) -> dict[str, dict[str, str]] | None:
        """The content of checksums.json; None in a run of an earlier version."""
        if not os.path.lexists(self.checksums_path):
            return None
        with reading(self.checksums_path, self._score_again):
            found = checked(_versioned(self.checksums_path.read_text(encoding="utf-8")))
            return {"files": dict(found["files"]), "images": dict(found["images"])}

    def _derived(self, path: Path, parse: Callable[[str], Read]) -> Read | None:
        """What a derived file holds; None if there is none.

        Raises EvalkitError if it is damaged, or is not the file that the last scoring wrote.
        """
        known, name = self._checksums(), path.relative_to(self.path).as_posix()
        if not os.path.lexists(path):
            if known and name in known["files"]:
                raise EvalkitError(f"{path} is missing.", self._score_again)
            return None
        with reading(path, self._score_again):
            content = path.read_bytes()
            found = parse(content.decode("utf-8"))
        if known and known["files"].get(name) != hashlib.sha256(content).hexdigest():
            raise EvalkitError(
                f"{path} is not the file that belongs to the other results: it was edited, comes"
                " from another run, or the scoring was stopped.",
                self._score_again,
            )
        return found

    def _write_json(self, path: Path, content: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def _score_again(self) -> str:
        """The command that writes the derived files again; it takes its settings from run.toml."""
        return f"Write it again with `evalkit score {shlex.quote(str(self.path))}`."


def _versioned(text: str) -> dict[str, Any]:
    """The content of a file of our schema version. Raises ValueError for another one."""
    found = json.loads(text)
    if found["schema"] != SCHEMA:
        raise ValueError(found["schema"])
    return found


def _rows(kind: Callable[..., Read], rows: Iterable[Mapping[str, Any]]) -> list[Read]:
    return [typed(kind, row) for row in rows]


def _current(record: Record) -> Record:
    """A record of an earlier version, in which a missing image of a folder was a bad request."""
    if (record.status, record.detail) == ("bad_request", NO_IMAGE):
        return dataclasses.replace(record, status="missing")
    return record
