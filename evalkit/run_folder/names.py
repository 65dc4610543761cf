"""The names of all files of a run. No other module defines one."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from evalkit.core import Record
from evalkit.files import is_device, path_of

MOST_IMAGES = 1_000  # in one folder: more slow down file systems and the programs that list them
# What `file` of a manifest may be: a plain name, or one in a subfolder of a large run.
IMAGE_FILE = re.compile(r"(\d{3,}-\d+/)?[\w-][\w.-]*")
_IMAGE_NAME = re.compile(r"(\d{5,})-(\d+)\.png")


def folder_name(label: str) -> str:
    """The name of a model's folder: its label if that is a plain name, else a part and a hash."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", label) and not is_device(label):
        return label
    plain = re.sub(r"[^a-z0-9_-]+", "-", label.lower()).strip("-")[:40] or "model"
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def image_file(index: int, sample: int, requested: int, suffix: str = ".png") -> str:
    """The path of an image in its model's folder, with `/` on every system.

    A model of more than 1,000 images has them in subfolders, one for each sample of 1,000 prompts:
    `00017-0.png`, or `000-0/00017-0.png`.

    Args:
        requested: the images of a model that the run is to have.
    """
    name = f"{index:05d}-{sample}{suffix}"
    if requested <= MOST_IMAGES:
        return name
    return f"{index // MOST_IMAGES:03d}-{sample}/{name}"


def image_place(name: str) -> tuple[int, int] | None:
    """Index and sample of an image by its file name; None for another name."""
    found = _IMAGE_NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


class Names:
    """Where the files of a run are."""

    def __init__(self, path: os.PathLike[str] | str) -> None:
        self.path = path_of(path, "The run folder")

    def __fspath__(self) -> str:
        """A run is a path to its folder, wherever a path is expected."""
        return str(self.path)

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
    def robustness_path(self) -> Path:
        return self.path / "robustness.json"

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

    def judge_path(self, study: str) -> Path:
        return self.ratings_path / f"{study}.judge.json"

    def judge_requests_path(self, study: str) -> Path:
        return self.ratings_path / f"{study}.requests.jsonl"

    def image_folder(self, model: str) -> Path:
        return self.path / "images" / folder_name(model)

    def image_path(self, model: str, record: Record) -> Path:
        return self.image_folder(model) / record.file

    def features_path(self, model: str, encoder: str) -> Path:
        return self.path / "features" / folder_name(model) / f"{encoder}.npz"

    def answers_path(self, model: str, scorer: str) -> Path:
        return self.path / "features" / folder_name(model) / f"{scorer}.jsonl"

    def token_requests_path(self, model: str) -> Path:
        """The journal of a service that is asked for tokens; `model` is its name as a file."""
        return self.path / "features" / f"{model}.requests.jsonl"

    def validation_path(self, model: str) -> Path:
        return self.path / "features" / folder_name(model) / "validation.json"

    def measured_path(self, model: str, metric: str) -> Path:
        return self.path / "features" / folder_name(model) / "measured" / f"{metric}.json"
