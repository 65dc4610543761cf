"""The part of a run that is derived from its images: metrics, comparisons, protocol, gate."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import shlex
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
    Record,
    RobustnessRow,
)
from evalkit.escape import spreadsheet_cell, to_csv, without_guard
from evalkit.files import checked, digest, remove, with_check, write_atomically
from evalkit.flat_metrics import flatten
from evalkit.locks import alone
from evalkit.run_folder.images import Images
from evalkit.run_folder.reading import check_protocol, reading, typed

SCHEMA = 1  # version of metrics.json and comparisons.json
SCORES = ("model", "index", "sample", "metric", "encoder", "value")  # columns of scores.csv
Read = TypeVar("Read")


class Results(Images):
    """What was measured on the images of a run."""

    GATE_AGAIN = "Write it again with `evalkit gate`, or remove it."

    @property
    def is_scored(self) -> bool:
        """Whether there is a metrics.json, sound or not."""
        return os.path.lexists(self.metrics_path)  # takes names that no file can have

    def writing_results(self) -> contextlib.AbstractContextManager[None]:
        """A block in which no other process writes what is derived from images; waits for one.

        So what is read in the block belongs together. A folder that does not exist is not made.
        """
        if not os.path.isdir(self.path):
            return contextlib.nullcontext()
        return alone(self.path / ".results.lock")

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
            self.require_folder()
            raise EvalkitError(
                f"{self.path} has no metrics.json.", self._score_again, code="run_folder-12"
            )

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
            raise EvalkitError(
                f"{self.path} has no metrics.flat.json.", self._score_again, code="run_folder-13"
            )
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

    def write_robustness(self, rows: Sequence[RobustnessRow]) -> None:
        """robustness.json; no rows remove it."""
        if not rows:
            remove(self.robustness_path)
            return
        listed = [asdict(row) for row in rows]
        self._write_json(self.robustness_path, {"schema": SCHEMA, "rows": listed})

    def robustness(self) -> list[RobustnessRow]:
        """robustness.json; [] without variants. Raises EvalkitError if the file is damaged."""

        def read(text: str) -> list[RobustnessRow]:
            return _rows(RobustnessRow, _versioned(text)["rows"])

        return self._derived(self.robustness_path, read) or []

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
                code="run_folder-14",
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

    def end_scoring(self, measured: Mapping[str, Sequence[Record]] | None = None) -> None:
        """checksums.json: hashes of the derived files, and of the images that were scored.

        measured: by model, the records as they were when its images were measured.
        """
        known = measured or {}
        images = {model: self.images_sha256(model, known.get(model)) for model in self.models()}
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
        return *measured, self.robustness_path, self.protocol_path, self.summary_path

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
        content = {"schema": SCHEMA, "files": dict(sorted(files.items())), "images": dict(images)}
        self._write_json(self.checksums_path, with_check(content))

    def images_sha256(self, model: str, records: Sequence[Record] | None = None) -> str:
        """A hash of the images of a model by prompt and sample, and of the model.

        records: those of the model, where they are known already.
        """
        found = self.records(model) if records is None else records
        records = [record for record in found if record.status == "ok"]
        rows = [[one.prompt, one.sample, one.sha256, one.prompt_sha256] for one in records]
        return digest([self.model(model).get("fingerprint", ""), rows])

    def is_stale(self, model: str, records: Sequence[Record] | None = None) -> bool:
        """Whether the images of a model are not those that were scored; False if not known.

        records: those of the model, where they are known already.
        """
        known = self.scored_images().get(model)
        return known is not None and known != self.images_sha256(model, records)

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
                raise EvalkitError(f"{path} is missing.", self._score_again, code="run_folder-15")
            return None
        with reading(path, self._score_again):
            content = path.read_bytes()
            found = parse(content.decode("utf-8"))
        if known and known["files"].get(name) != hashlib.sha256(content).hexdigest():
            raise EvalkitError(
                f"{path} is not the file that belongs to the other results: it was edited, comes"
                " from another run, or the scoring was stopped.",
                self._score_again,
                code="run_folder-16",
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
