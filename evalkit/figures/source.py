"""A scored run folder, as the figures read it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from evalkit.core import EvalkitError, Record
from evalkit.features.changed import Changes, mention_changes
from evalkit.figures.rows import Row, drawable, models_of, one_metric
from evalkit.prompts.perturb import originals_of
from evalkit.run_folder import Run
from evalkit.shards import WHOLE

NO_FEATURES = (
    "it needs the features of the images and the reference, which are not in the run folder; write"
    " them with `evalkit score`"
)


class Absent(Exception):
    """Why a run has no data for a figure."""


class Source:
    """A scored run folder, each file read once."""

    def __init__(self, run: Run, metrics: Sequence[str] = ()) -> None:
        self.run, self.chosen = run, list(metrics)
        self.no_covariance = ""  # why the figure pareto has crosses
        self.protocol: Mapping[str, Any] = run.protocol()
        self.metrics = drawable([self._stated(asdict(row)) for row in run.metrics()])
        known = run.models()
        scored = models_of(self.metrics)
        self.models = [model for model in known if model in scored] or scored
        unknown = [name for name in self.chosen if name not in {r["metric"] for r in self.metrics}]
        if unknown:
            names = ", ".join(dict.fromkeys(row["metric"] for row in self.metrics))
            raise EvalkitError(
                f"{run.path} has no metric {unknown[0]!r}; it has {names}.",
                "Correct `--metrics`, or measure it with `evalkit score`.",
                code="figures-22",
            )

    def _stated(self, row: Row) -> Row:
        """A row with what protocol.json states about its metric."""
        measures = self.protocol.get("measures")
        found = measures.get(row["metric"], {}) if isinstance(measures, Mapping) else {}
        if found.get("title"):
            row |= {"title": found["title"], "from_zero": bool(found.get("from_zero"))}
        return row

    @functools.cached_property
    def comparisons(self) -> list[Row]:
        found = self.run.comparisons()
        rows = found.rows if found else ()
        return drawable([self._stated(asdict(row)) for row in rows])

    @functools.cached_property
    def prompts(self) -> list[tuple[str, str]]:
        """Id and text of each prompt."""
        if not self.run.is_run:
            return []
        return [(prompt.id, prompt.text) for prompt in self.run.prompts()]

    @functools.cached_property
    def scores(self) -> list[Row]:
        """The values per image: model, prompt, sample, metric, encoder, value, title, better.

        Without those of variants of prompts, as the values of all prompts are.
        """
        better = {(row["metric"], row["encoder"]): row["better"] for row in self.metrics}
        found, variants = [], originals_of(self.run.prompts() if self.run.is_run else [])
        for row in self.run.scores():
            if int(row["index"]) in variants:
                continue
            value, index = float(row["value"] or "nan"), int(row["index"])
            if math.isfinite(value):
                prompt = self.prompts[index][0] if index < len(self.prompts) else str(index)
                made = {"model": row["model"], "prompt": prompt, "sample": int(row["sample"])}
                made |= {"metric": row["metric"], "encoder": row["encoder"], "value": value}
                made["better"] = better.get((row["metric"], row["encoder"]), "higher")
                found.append(self._stated(made))
        return drawable(found)

    @functools.cached_property
    def changes(self) -> Changes:
        """The images that are not those of the manifests, or not those that were scored."""
        return mention_changes(self.run, [m for m in self.models if m in self.run.models()])

    @functools.cache  # noqa: B019 (one source is read by one command)
    def records(self, model: str) -> list[Record]:
        """The records of a model's images."""
        return [record for record in self.run.records(model) if record.status == "ok"]


@functools.cache
def features(source: Source, model: str) -> tuple[Any, Any]:
    """Cached "pool" features float32 [N, D] behind FID, and the moments of the reference."""
    import torch

    from evalkit.features import cache, parts
    from evalkit.reference.files import reference

    own = [row for row in source.metrics if (row["model"], row["metric"]) == (model, "fid")]
    if not own:
        raise Absent("FID was not measured")
    row = one_metric(own, "fid", "")[0]
    encoders = source.protocol.get("encoders") or {}
    prints = {one["name"]: one["fingerprint"] for one in encoders.values()}
    encoder: Any = SimpleNamespace(name=row["encoder"], fingerprint=prints.get(row["encoder"], ""))
    path = source.run.features_path(model, row["encoder"])
    files = path, *parts.beside(path, WHOLE)
    cached = cache.read_all(files, encoder.fingerprint, ("pool",))
    keys = [record.sha256 for record in source.records(model)]
    if not keys or len(keys) != row["count"] or any(key not in cached.rows for key in keys):
        raise Absent(NO_FEATURES)
    try:
        moments = reference(row["reference"], encoder).moments["pool"]
    except (EvalkitError, KeyError) as error:
        raise Absent(f"the reference {row['reference']} is not found") from error
    return torch.from_numpy(cached.values["pool"][[cached.rows[key] for key in keys]]), moments
