"""A mean of numbers per image under each convention, such as CLIP score.

A convention is data: which cosine of image and prompt (of an encoder, or of a reward model), and
what becomes of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.core import EvalkitError
from evalkit.features.image_sets import ImageSet, image_sets, one_image_set
from evalkit.hints import capital
from evalkit.run_folder import Run, folder_name
from evalkit.score.conventions.cosines import Source, cosines
from evalkit.score.conventions.scored import Scored, rewards
from evalkit.score.conventions.table import TOOLS_DIFFER, ConventionRow
from evalkit.statistics import intervals

# Relative: half precision has 11 bits, in the numbers of the images and again in their mean.
HALF_DIFFERS = 1e-3
SAME = 1e-6  # relative: the same pixels in another batch


class Convention(NamedTuple):
    """How a tool gets its number from images and prompts, and the tools that do so."""

    name: str
    tools: str
    description: str
    source: Source | Scored
    scale: float | str = 1.0  # by what the cosine is multiplied; the name of a reward's convention
    # What is set to 0 where it is negative.
    cut: Literal["image", "mean", "nothing"] = "nothing"
    tools_differ: float = TOOLS_DIFFER


def rows_per_image(
    conventions: Sequence[Convention],
    title: str,
    folder: Path,
    weights: str,
    device: str,
    batch_size: int,
) -> tuple[list[ConventionRow], list[str]]:
    """One row per convention, each with its 95% interval over prompts, and the notes.

    title: of the metric. Raises EvalkitError if there are no images, no prompts, several models, or
    no network.
    """
    run, images = _images(folder)
    if images.texts is None:
        raise EvalkitError(
            f"{folder} has no prompts; {title} compares each image with its prompt.",
            "Make a run of the images and their prompts, and give that: `evalkit generate --models"
            f" {shlex.quote(str(folder))} --prompts PROMPTS --out RUN`.",
            code="score-7",
        )
    if not images.texts:
        raise EvalkitError(
            f"{folder} has no images of {images.model}.",
            "Give a run that has images.",
            code="score-8",
        )
    every = dict.fromkeys(item.source for item in conventions)
    sources = [one for one in every if isinstance(one, Source)]
    found = cosines(run, images, images.texts, sources, weights, device, batch_size)
    values: dict[Source | Scored, NDArray[np.float64] | str] = {**found.values}
    factors: dict[Source | Scored, Mapping[str, float]] = {}
    for one in every:
        if isinstance(one, Scored):
            made = rewards(run, images, images.texts, one, device, batch_size)
            values[one] = made if isinstance(made, str) else made.cosines
            factors[one] = {} if isinstance(made, str) else made.factors
    reasons = [reason for reason in values.values() if isinstance(reason, str)]
    if len(reasons) == len(every):
        # Of encoders, most conventions have the network that is named last.
        said = [one.partition("; ") for one in dict.fromkeys(reasons if factors else reasons[-1:])]
        steps = dict.fromkeys(
            sentence for _, _, step in said for sentence in capital(step).rstrip(".").split(". ")
        )
        raise EvalkitError(
            f"{title} cannot be measured: {'; '.join(reason for reason, _, _ in said)}.",
            f"{'. '.join(filter(None, steps)) or 'Give weights of one of the networks'}.",
            code="score-9",
        )
    clusters = intervals.cluster_numbers(images.texts)
    rows: list[ConventionRow] = []
    earlier: list[tuple[Convention, NDArray[np.float64]]] = []
    for convention in conventions:
        item = convention
        cosine = values[item.source]
        if isinstance(cosine, str):
            note = f"not measured: {cosine}"
            rows.append(ConventionRow(item.name, item.tools, item.description, note=note))
            continue
        if isinstance(item.scale, str):
            item = item._replace(scale=factors[item.source][item.scale])
        kept = cosine.clip(0) if item.cut == "image" else cosine
        if item.cut == "mean" and cosine.mean() < 0:
            kept = np.zeros_like(cosine)
        rows.append(_measured(item, cosine, clusters, _multiple(item, kept, earlier)))
        earlier.append((item, kept))
    return rows, found.notes


def _images(path: Path) -> tuple[Run, ImageSet]:
    """The images of one model, with their prompts too where the path is its folder in a run."""
    folder = path.expanduser().resolve()
    run = Run(folder.parent.parent)
    if folder.parent.name == "images" and run.is_run:
        for model in run.models():
            if folder_name(model) == folder.name:
                return run, image_sets(run.path, models=[model]).sets[0].originals()
    return one_image_set(path)


def _measured(
    item: Convention, cosine: NDArray[np.float64], clusters: NDArray[np.int64], note: str
) -> ConventionRow:
    values = float(item.scale) * (cosine.clip(0) if item.cut == "image" else cosine)
    interval = intervals.clustered_bootstrap(values, clusters)
    shown = [float(values.mean()), interval.low, interval.high]
    if item.cut == "mean":
        shown = [None if one is None else max(0.0, one) for one in shown]
    return ConventionRow(
        item.name,
        item.tools,
        item.description,
        *shown,
        count=len(values),
        prompts=int(clusters.max()) + 1,
        tools_differ=item.tools_differ,
        note=note,
    )


def _multiple(
    item: Convention,
    values: NDArray[np.float64],
    earlier: Sequence[tuple[Convention, NDArray[np.float64]]],
) -> str:
    """Which earlier convention differs by a constant factor only, in words; "" if none does."""
    for other, others in earlier:
        if np.allclose(values, others, rtol=SAME, atol=0):
            alike = item.source == other.source and item.cut == other.cut
            ratio = float(item.scale) / float(other.scale)
            factor = "as" if ratio == 1 else f"{ratio:g} times"
            return f"{factor} {other.name}" + ("" if alike else ", on these images")
    return ""
