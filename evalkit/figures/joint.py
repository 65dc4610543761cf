"""The joint uncertainty of two metrics of one model, from values without groups of prompts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from evalkit.figures.rows import Row, measure_of
from evalkit.figures.source import Absent, Source, features

if TYPE_CHECKING:
    from torch import Tensor


class Unknown(Exception):
    """Why the covariance of two metrics is not known."""


def covariance(source: Source, first: Row, second: Row) -> dict[str, float]:
    """Variances and covariance of two metrics, by leaving the same groups of prompts out of both.

    first, second: the rows of metrics.json of one model. Raises Unknown.
    """
    from evalkit.statistics import intervals

    records, known = source.records(first["model"]), source.prompts
    for row in (first, second):
        if row["count"] != len(records) or any(one.index >= len(known) for one in records):
            raise Unknown(
                f"{measure_of(row).title} of {row['model']} is of {row['count']} images, and the"
                f" run has {len(records)}"
            )
    texts = [known[one.index][1] for one in records]
    groups = intervals.groups_of_clusters(intervals.cluster_numbers(texts))
    if groups is None:
        raise Unknown(f"{first['model']} has images of fewer than 5 prompts")
    both = _left_out(source, first, groups), _left_out(source, second, groups)
    found = intervals.group_jackknife_covariance((first["value"], second["value"]), both, groups)
    for row, variance in zip((first, second), found, strict=False):
        if not variance > 0:
            title = measure_of(row).title
            raise Unknown(f"{title} of {row['model']} is the same without any group of prompts")
    names = ("variance_x", "variance_y", "covariance")
    return dict(zip(names, found, strict=True)) | {"groups": int(groups.max()) + 1}


def _left_out(source: Source, row: Row, groups: Tensor) -> Tensor:
    """The metric without each group, float64 [G]: as scoring kept it, else from its parts."""
    import torch

    number, known = int(groups.max()) + 1, _kept(source, row)
    left_out, per_image = known.get("left_out"), known.get("per_image")
    if left_out and len(left_out) == number:
        return torch.tensor(left_out, dtype=torch.float64)
    per_image = per_image or _per_image(source, row)
    if per_image and len(per_image) == len(groups):
        values = torch.tensor(per_image, dtype=torch.float64)
        return torch.stack([values[groups != group].mean() for group in range(number)])
    if row["metric"] == "fid":
        return _fid(source, row, groups)
    raise Unknown(_absent(row))


def _kept(source: Source, row: Row) -> dict[str, Any]:
    """What scoring kept of this very value; {} if it kept another one, or none."""
    path = source.run.measured_path(row["model"], row["metric"])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kept = [content["value"], *content["interval"][:2]]
        return content if kept == [row["value"], row["low"], row["high"]] else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _per_image(source: Source, row: Row) -> list[float]:
    """The values of scores.csv in the order of the images; [] unless all images have one."""
    about = (row["model"], row["metric"], row["encoder"])
    values = {
        (one["prompt"], one["sample"]): one["value"]
        for one in source.scores
        if (one["model"], one["metric"], one["encoder"]) == about
    }
    places = [(source.prompts[one.index][0], one.sample) for one in source.records(row["model"])]
    return [values[place] for place in places] if all(one in values for one in places) else []


def _fid(source: Source, row: Row, groups: Tensor) -> Tensor:
    """FID without each group, from the features."""
    from evalkit.metrics import frechet

    try:
        fake, moments = features(source, row["model"])
    except Absent as error:
        raise Unknown(_absent(row)) from error
    return frechet.fid_without(fake=fake, real_moments=moments, groups=groups)


def _absent(row: Row) -> str:
    return (
        f"the run folder does not have {measure_of(row).title} of {row['model']} without groups of"
        " prompts; `evalkit score` writes it for metrics of evalkit"
    )
