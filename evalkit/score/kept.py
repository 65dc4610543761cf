"""Measurements that a scoring keeps beside the cached features.

The gate, baselines and comparisons of runs read them, so that they need neither encoders nor
features. A measurement counts only under its key, a hash of everything that it depends on: the
images and their prompts in order, the encoder, the reference, the metric with its options, and the
code that computes it. Metrics of other packages are not kept: nobody can see what their code
depends on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evalkit.core import Metric
from evalkit.features.image_sets import ImageSet
from evalkit.files import digest, write_atomically
from evalkit.plugin_calls import is_own
from evalkit.run_folder import Run
from evalkit.score.measure import Measurement
from evalkit.statistics.intervals import Interval

SCHEMA = 4
# The code between features and values; that of encoders is part of their fingerprints.
_CODE = ("evalkit.metrics", "evalkit.statistics.intervals", "evalkit.score.measure")


@dataclass(frozen=True)
class Basis:
    """What measurements of one model depend on besides the metric."""

    images: str  # hash of the images and their prompts, in order
    encoders: Mapping[str, Mapping[str, Any]]  # by kind, as in protocol.json
    references: Mapping[str, Mapping[str, Any]]  # by kind, as in protocol.json

    @classmethod
    def of(cls, images: ImageSet, protocol: Mapping[str, Any]) -> Basis:
        """Of a run's images with the encoders and references of a protocol.json."""
        rows = [
            [record.sha256, text]
            for record, text in zip(images.records, images.texts or (), strict=True)
        ]
        return cls(digest(rows), protocol.get("encoders", {}), protocol.get("references", {}))

    def key(self, metric: Metric) -> str:
        """The key of a metric's measurement; "" for one that is not kept."""
        encoder, reference = self.encoders.get(metric.encoder), {}
        if metric.compares:
            reference = self.references.get(metric.encoder, {})
        # Without the hash of its content, other statistics could have the same name.
        if encoder is None or not _is_own(metric) or (reference and not reference.get("sha256")):
            return ""
        about = {**metric.measure.stated(), "options": metric.options, "needs": metric.needs}
        about |= {"feature": metric.feature, "kind": metric.encoder, "prefix": metric.prefix}
        about |= {"most": metric.most}
        encoder = [encoder["name"], encoder["fingerprint"]]
        facts = [reference.get("name"), reference.get("sha256")]
        return digest([SCHEMA, code(), about, self.images, encoder, facts])


def write(run: Run, model: str, metric: Metric, found: Measurement, key: str) -> None:
    """Keep a measurement on all images of a model; the one before it is replaced."""
    values = None if found.per_image is None else found.per_image.tolist()
    lists = {  # JSON has no NaN
        "per_image": values and [None if math.isnan(one) else one for one in values],
        "sample": None if found.sample is None else found.sample.tolist(),
        "left_out": None if found.left_out is None else found.left_out.tolist(),
        "left_out_pairs": None if found.left_out_pairs is None else found.left_out_pairs.tolist(),
    }
    content = {"key": key, "value": found.value, "interval": found.interval, "note": found.note}
    content |= {"unanswered": found.unanswered, "why_unanswered": found.why_unanswered, **lists}
    content |= {"caution": found.caution}
    text = json.dumps(content | {"sha256": digest(content)}, ensure_ascii=False, allow_nan=False)
    write_atomically(run.measured_path(model, metric.name), text + "\n")


def read(run: Run, model: str, metric: Metric, key: str) -> Measurement | None:
    """The measurement with this key; None if there is none, or if its file is not as written."""
    if not key:
        return None
    try:
        content = json.loads(run.measured_path(model, metric.name).read_text(encoding="utf-8"))
        if content["key"] != key or content.pop("sha256") != digest(content):
            return None
        low, high, method = content["interval"]
        per_image, left_out, pairs = (
            None if content[name] is None else np.array(content[name], float)
            for name in ("per_image", "left_out", "left_out_pairs")
        )
        return Measurement(
            content["value"],
            Interval(low, high, method),
            content["note"],
            content["caution"],
            per_image,
            None if left_out is None else torch.from_numpy(left_out),
            None if pairs is None else torch.from_numpy(pairs),
            unanswered=content["unanswered"],
            why_unanswered=content["why_unanswered"],
            sample=None if content["sample"] is None else np.array(content["sample"], np.int64),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


@functools.cache
def code() -> str:
    """A hash of the code that computes values, and of the versions of its libraries."""
    found = hashlib.sha256()
    for name in _CODE:
        place = Path(str(importlib.import_module(name).__file__))
        for path in sorted(place.parent.glob("*.py")) if place.stem == "__init__" else [place]:
            found.update(f"{path.name}\0".encode() + path.read_bytes())
    for name in ("torch", "numpy", "scipy"):
        found.update(f"{name} {version(name)}\0".encode())
    return found.hexdigest()


def _is_own(metric: Metric) -> bool:
    names = "compute", "leave_out", "leave_out_pairs", "approximation", "describe", "caution"
    functions = (getattr(metric, name) for name in names)
    return all(is_own(one) for one in functions if one is not None)
