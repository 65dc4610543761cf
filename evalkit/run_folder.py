"""A run is a folder. Only this module defines the names of the files in it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from evalkit.core import (
    AgreementRow,
    ComparisonRow,
    Comparisons,
    EvalkitError,
    MetricRow,
    Prompt,
    Record,
)
from evalkit.files import alone, append_lines, fsync_folder, read_lines, write_atomically
from evalkit.flat_metrics import flatten

NO_IMAGE = "no image in the folder for this prompt"  # the detail of a record
SCHEMA = 1  # version of metrics.json and comparisons.json
SCORES = ("model", "index", "sample", "metric", "encoder", "value")  # columns of scores.csv


def folder_name(label: str) -> str:
    """The name of a model's folder: its label if that is a plain name, else a part and a hash."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", label):
        return label
    plain = re.sub(r"[^a-z0-9_-]+", "-", label.lower()).strip("-")[:40] or "model"
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


class Run:
    """Reads and writes one run folder. The path is its only state; files are written atomically."""

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
        if not os.path.isfile(self.prompts_path):  # takes names that no file can have
            raise EvalkitError(
                f"{self.path} is not a run folder: it has no prompts.jsonl.",
                "Make one with `evalkit run`.",
            )
        with _reading(self.prompts_path):
            # Not splitlines(): it would also split at U+2028, which a prompt may contain.
            lines = self.prompts_path.read_text(encoding="utf-8").split("\n")
            return [_typed(Prompt, json.loads(line)) for line in lines if line]

    # --- images and their manifests ---
    def models(self) -> list[str]:
        """The labels of the registered models, in the order of `models` in run.toml."""
        if not os.path.isdir(self.path):  # unlike glob, takes names that no folder can have
            return []
        places: list[tuple[int, str]] = []
        for path in (self.path / "images").glob("*/model.json"):
            with _reading(path):
                note = json.loads(path.read_text(encoding="utf-8"))
                _check_note(note)
                places.append((note["order"], note["label"]))
        return [label for _, label in sorted(places)]

    def register_model(
        self,
        label: str,
        spec: str,
        order: int,
        fingerprint: str = "",
        bundled: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the model's folder with model.json.

        `order` is its place among the models; `bundled`: it draws the bundled data set; `settings`
        as used: device, number format, steps and so on, without those that are not known.
        """
        note = {
            "label": label,
            "spec": spec,
            "order": order,
            "fingerprint": fingerprint,
            "bundled": bundled,
            "settings": dict(settings or {}),
        }
        text = json.dumps(note, ensure_ascii=False)
        write_atomically(self.image_folder(label) / "model.json", text)

    def model(self, label: str) -> dict[str, Any]:
        """The content of model.json; empty for a model that the run does not have."""
        path = self.image_folder(label) / "model.json"
        if not path.is_file():
            return {}
        with _reading(path):
            note = json.loads(path.read_text(encoding="utf-8"))
            _check_note(note)
            return note

    def write_unmatched(self, model: str, text: str) -> None:
        """unmatched.txt, where there is something in it; an earlier one is removed."""
        path = self.image_folder(model) / "unmatched.txt"
        if text:
            write_atomically(path, text)
        else:
            path.unlink(missing_ok=True)

    def unmatched(self, model: str) -> list[tuple[str, str]]:
        """The files of unmatched.txt, each with the reason why it is not taken."""
        path = self.image_folder(model) / "unmatched.txt"
        if not path.is_file():
            return []
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
        paths = sorted(self.image_folder(model).glob("requests.*.jsonl"))
        rows = (row for path in paths for row in read_lines(path))
        return sorted(rows, key=lambda row: row["at"])

    def records(self, model: str) -> list[Record]:
        """The manifest rows of all ranks, one per image, in the order of prompts and samples.

        Of several rows for one image, the last successful one counts, else the last one.
        """
        merged: dict[tuple[int, int], Record] = {}
        for path in sorted(self.image_folder(model).glob("manifest.*.jsonl")):
            with _reading(path):
                records = [_current(_typed(Record, row)) for row in read_lines(path)]
            for record in records:
                known = merged.get((record.index, record.sample))
                if known is None or record.status == "ok" or known.status != "ok":
                    merged[(record.index, record.sample)] = record
        return [merged[key] for key in sorted(merged)]

    # --- derived files ---
    def write_metrics(
        self, rows: Sequence[MetricRow], agreement: Sequence[AgreementRow] = ()
    ) -> None:
        """metrics.json: see score/metrics.schema.json; and metrics.flat.json of the same rows."""
        content: dict[str, Any] = {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}
        if agreement:
            content["agreement"] = [asdict(row) for row in agreement]
        self.flat_metrics_path.unlink(missing_ok=True)  # after a kill it is absent, never stale
        self._write_json(self.metrics_path, content)
        self._write_json(self.flat_metrics_path, flatten(rows))

    def metrics(self) -> list[MetricRow]:
        """The rows of metrics.json. Raises EvalkitError if there is none, or if it is damaged."""
        if not self.metrics_path.is_file():
            raise EvalkitError(f"{self.path} has no metrics.json.", self._score_again)
        with _reading(self.metrics_path, self._score_again):
            return [_typed(MetricRow, row) for row in _versioned(self.metrics_path)["rows"]]

    def agreement(self) -> list[AgreementRow]:
        """How metrics agree with raters, from metrics.json; [] for a run without ratings."""
        if not self.metrics_path.is_file():
            return []
        with _reading(self.metrics_path, self._score_again):
            found = _versioned(self.metrics_path).get("agreement", [])
            return [_typed(AgreementRow, row) for row in found]

    def write_comparisons(self, comparisons: Comparisons | None) -> None:
        """comparisons.json: see score/comparisons.schema.json; None removes it."""
        if comparisons is None:
            self.comparisons_path.unlink(missing_ok=True)
            return
        self._write_json(self.comparisons_path, {"schema": SCHEMA, **asdict(comparisons)})

    def comparisons(self) -> Comparisons | None:
        """comparisons.json; None for one model. Raises EvalkitError if the file is damaged."""
        if not self.comparisons_path.is_file():
            return None
        with _reading(self.comparisons_path, self._score_again):
            found = _versioned(self.comparisons_path)
            rows = tuple(_typed(ComparisonRow, row) for row in found["rows"])
            by_group = found.get("group_family", 0)
            return Comparisons(found["statement"], found["level"], found["family"], rows, by_group)

    def write_scores(self, rows: Iterable[Sequence[Any]]) -> None:
        """scores.csv: one row of SCORES per image and metric."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SCORES)
        writer.writerows(rows)
        write_atomically(self.scores_path, text.getvalue())

    def scores(self) -> list[dict[str, str]]:
        """The rows of scores.csv; [] if there is none."""
        if not self.scores_path.is_file():
            return []
        with (
            _reading(self.scores_path, self._score_again),
            self.scores_path.open(newline="", encoding="utf-8") as file,
        ):
            rows = list(csv.DictReader(file))
            if rows and not set(SCORES) <= rows[0].keys():
                raise KeyError(*rows[0])
            for row in rows:
                _ = int(row["index"]), int(row["sample"]), float(row["value"] or "nan")
            return rows

    def write_summary(self, summaries: Sequence[Mapping[str, Any]]) -> None:
        """ratings/summary.json: what the raters say, one entry per question of a study."""
        self._write_json(self.summary_path, {"schema": SCHEMA, "polls": list(summaries)})

    def summary(self) -> list[dict[str, Any]]:
        """The entries of ratings/summary.json; [] for a run without ratings."""
        if not self.summary_path.is_file():
            return []
        with _reading(self.summary_path, self._score_again):
            return list(_versioned(self.summary_path)["polls"])

    def write_image_checks(self, findings: dict[str, Any]) -> None:
        """By model, what was taken and what was not, and the findings of image validation."""
        self._write_json(self.image_checks_path, findings)
        (self.path / "validation.json").unlink(missing_ok=True)  # its name in earlier versions

    def image_checks(self) -> dict[str, Any]:
        """image_checks.json; {} if there is none. Raises EvalkitError if the file is damaged."""
        if not self.image_checks_path.is_file():
            return {}
        with _reading(self.image_checks_path, self._score_again):
            return dict(json.loads(self.image_checks_path.read_text(encoding="utf-8")))

    def write_sources(self, sources: Mapping[str, Any]) -> None:
        """sources.json: the runs that the models of a comparison come from (see compare/)."""
        self._write_json(self.sources_path, {"schema": SCHEMA, **sources})

    def sources(self) -> dict[str, Any]:
        """sources.json; {} for a run of its own. Raises EvalkitError if the file is damaged."""
        if not self.sources_path.is_file():
            return {}
        with _reading(self.sources_path, "Delete the folder and compare the runs again."):
            found = _versioned(self.sources_path)
            _ = [(one["run"], one["label"], one["seed"]) for one in dict(found["models"]).values()]
            return found

    def write_protocol(self, protocol: dict[str, Any]) -> None:
        """protocol.json: everything that a number depends on (see score/protocol.py)."""
        self._write_json(self.protocol_path, protocol)

    def protocol(self) -> dict[str, Any]:
        """protocol.json; {} if there is none. Raises EvalkitError if the file is damaged."""
        if not self.protocol_path.is_file():
            return {}
        with _reading(self.protocol_path, self._score_again):
            found = json.loads(self.protocol_path.read_text(encoding="utf-8"))
            _check_protocol(found)
            if found.get("schema", SCHEMA) != SCHEMA:  # of a version that states one
                raise ValueError(found["schema"])
            return found

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

    def gate(self) -> dict[str, Any]:
        """gate.json, which `evalkit gate` writes; {} if there is none."""
        if not self.gate_path.is_file():
            return {}
        with _reading(self.gate_path, "Write it again with `evalkit gate`, or remove it."):
            found = json.loads(self.gate_path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise TypeError(found)
            return found

    def _write_json(self, path: Path, content: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def _score_again(self) -> str:
        """The command that writes the derived files again; it takes its settings from run.toml."""
        return f"Write it again with `evalkit score {shlex.quote(str(self.path))}`."


def _versioned(path: Path) -> dict[str, Any]:
    """The content of a derived file of our schema version. Raises ValueError for another one."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["schema"] != SCHEMA:
        raise ValueError(found["schema"])
    return found


Row = TypeVar("Row")


def _typed(kind: Callable[..., Row], row: Mapping[str, Any]) -> Row:
    """The dataclass of a row. Raises TypeError for a field of another type than it states."""
    made = kind(**row)
    for name, (literals, types) in _fields(kind).items():
        value = getattr(made, name)
        if literals:
            good = value in literals
        elif isinstance(value, bool):
            good = bool in types
        else:
            good = isinstance(value, types)
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{name} is {value!r}")
    return made


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[tuple[Any, ...], tuple[type, ...]]]:
    """By field: the literals it may have, or the types; a whole number counts as a float."""
    found: dict[str, tuple[tuple[Any, ...], tuple[type, ...]]] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            found[name] = (get_args(hint), ())
        else:
            types = get_args(hint) or (hint,)
            found[name] = ((), (*types, int) if float in types else types)
    return found


def _current(record: Record) -> Record:
    """A record of an earlier version, in which a missing image of a folder was a bad request."""
    if (record.status, record.detail) == ("bad_request", NO_IMAGE):
        return dataclasses.replace(record, status="missing")
    return record


def _check_note(note: Mapping[str, Any]) -> None:
    """Raise TypeError unless the fields of model.json have their types."""
    texts = (note["label"], note["spec"], note.get("fingerprint", ""))
    if not all(isinstance(text, str) for text in texts) or not isinstance(note["order"], int):
        raise TypeError(note)
    if not isinstance(note.get("settings", {}), dict):
        raise TypeError(note)


# Parts of protocol.json: tables, and tables of tables.
_TABLES = ("options", "intervals", "prompts", "vocabulary", "versions", "groups", "sources")
_NESTED = ("encoders", "references", "measures", "counts", "encoded_on")
_TEXTS = ("name", "fingerprint", "image_hash", "title", "meaning", "paper", "aspect")


def _check_protocol(found: Mapping[str, Any]) -> None:
    """Raise TypeError unless the parts of protocol.json that are read have their types."""
    if not isinstance(found, dict):
        raise TypeError(f"{found!r:.80} is no table")
    parts = [found.get(name, {}) for name in (*_TABLES, *_NESTED)]
    entries = [entry for name in _NESTED for entry in dict(found.get(name, {})).values()]
    for table in (*parts, *entries):
        if not isinstance(table, dict):
            raise TypeError(f"{table!r:.80} is no table")
    texts = [entry[name] for entry in entries for name in _TEXTS if entry.get(name) is not None]
    blind = found.get("blind_encoders", [])
    if not isinstance(blind, list) or not all(isinstance(text, str) for text in (*texts, *blind)):
        raise TypeError("a name is no text")
    for entry in found.get("measures", {}).values():
        ends = entry.get("range", [None, None])
        if len(ends) != 2 or not all(isinstance(end, int | float | None) for end in ends):
            raise TypeError(f"the range is {ends!r:.80}")


@contextlib.contextmanager
def _reading(
    path: Path, hint: str = "Restore the file, or start again in another folder."
) -> Iterator[None]:
    """Whatever is wrong with the content of a file becomes one sentence that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise EvalkitError(
            f"{path} is damaged, or was written by another version of evalkit.", hint
        ) from error
