"""Images of all models for the same prompts, chosen by a rule and never by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.figures.image_layout import Layout, image_layout
from evalkit.figures.labels import shorten
from evalkit.figures.pages import Page
from evalkit.figures.parts import new_figure
from evalkit.figures.rows import Data, Row, measure_of, models_of, one_metric, rows_of
from evalkit.figures.style import INK, MUTED, RULE, drawing

COLUMNS = ("model", "prompt", "text", "path")
FRAME = '`run.frame("images")`'
SEED = 0
KINDS = ("random", "best", "worst", "most disagreed")
DPI = 220  # of the images
GAP = 0.03  # inches between images


def image_grid(
    frame: Data,
    scores: Data | None = None,
    *,
    metric: str | None = None,
    each: int = 2,
    seed: int = SEED,
    width: str = "icml",
    columns: str = "one",
    folder: str | Path = "",
) -> Figure:
    """The images of all models for prompts that a rule chooses; nobody picks them.

    Prompts at random (with a fixed seed), those with the highest and the lowest mean score of all
    models, and those with the largest difference between models. Only prompts for which every model
    has an image take part; the first sample of each is shown.

    Args:
        frame: `run.frame("images")`; or rows that have a column `kind`, which are shown as they
            are.
        scores: `run.frame("scores")`; without it, prompts are chosen at random only.
        metric: the score, by name; the first one by default.
        each: prompts of each kind.
        seed: of the random choice.
        width: icml, cvpr, aaai, acl, neurips, iclr or slides.
        columns: one or two columns of the paper.
        folder: what relative paths begin at, by default the working directory. Those of an
            images.csv of `evalkit figures` are relative to its run folder: give that.

    Raises:
        EvalkitError: a column is missing, no prompt has an image of every model, or an image is
            not found or cannot be read.
    """
    rows = rows_of(frame, COLUMNS, FRAME)
    if "kind" not in rows[0]:
        rows = chosen_images(rows, scores, metric=metric, each=each, seed=seed)
    models = models_of(rows)
    lines = list(dict.fromkeys((row["kind"], row["prompt"]) for row in rows))
    with drawing(width, columns) as page:
        layout = image_layout(page, models, lines)
        figure = new_figure(page, layout.height / page.scale, layout.height / page.scale)
        figure.set_layout_engine("none")
        height = figure.get_figheight()
        axes = figure.add_axes((0, 0, 1, 1))  # in inches from the upper left corner
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        axes.set_xlim(0, page.width)
        axes.set_ylim(height, 0)
        for row in rows:
            left, top = layout.places[row["kind"], row["prompt"]]
            left += layout.label + models.index(row["model"]) * layout.side
            own = layout.side - GAP * page.scale
            _show(axes, _found(folder, row["path"]), (left, top, own))
        for start in layout.lefts:
            for number, name in enumerate(layout.names):
                middle = start + layout.label + (number + 0.5) * layout.side - GAP * page.scale / 2
                figure.text(
                    middle / page.width, 1 - (layout.head - 0.04 * page.scale) / height, name,
                    ha="center", va="bottom", rotation=90 if layout.turned else 0,
                    fontsize=6.5 * page.scale,
                )  # fmt: skip
        _name_prompts(figure, page, rows, layout)
        for rule in layout.rules:
            figure.add_artist(_rule(figure, 1 - (rule - GAP * page.scale / 2) / height))
        return figure


def chosen_images(
    frame: Data,
    scores: Data | None = None,
    *,
    metric: str | None = None,
    each: int = 2,
    seed: int = SEED,
) -> list[Row]:
    """The rows of the grid: kind, prompt, text, model, path and value (the score, or None)."""
    if type(each) is not int or not 1 <= each <= 100:
        raise EvalkitError(
            f"each is {each!r:.40}; expected a whole number from 1 to 100.",
            "Leave it out for 2 prompts of each kind.",
            code="figures-26",
        )
    images = {
        (row["prompt"], row["model"]): row
        for row in rows_of(frame, COLUMNS, FRAME)
        if row["path"] and row.get("status", "ok") == "ok" and not row.get("sample")
    }
    every = list(dict.fromkeys(row["model"] for row in rows_of(frame, COLUMNS, FRAME)))
    models = [one for one in every if one in {model for _, model in images}]
    known = dict.fromkeys(prompt for prompt, _ in images)
    prompts = [one for one in known if all((one, model) in images for model in models)]
    if not prompts:
        raise EvalkitError(
            "No prompt has an image of every model.", f"Give {FRAME}.", code="figures-4"
        )
    values, title = _values(scores, metric)
    order = np.random.RandomState(seed).permutation(len(prompts))
    kinds = {f"random (seed {seed})": [prompts[place] for place in order[:each]]}
    told = [one for one in prompts if all((one, model) in values for model in models)]
    if told:
        better = 1 if title[1] == "higher" else -1
        own = {one: [values[one, model] for model in models] for one in told}
        mean = {one: better * float(np.mean(own[one])) for one in told}
        name = title[0]
        kinds |= {
            f"best mean {name}": sorted(told, key=lambda one: -mean[one])[:each],
            f"worst mean {name}": sorted(told, key=lambda one: mean[one])[:each],
        }
        if len(models) > 1:
            spread = {one: float(np.ptp(own[one])) for one in told}
            kinds["most disagreed"] = sorted(told, key=lambda one: -spread[one])[:each]
    return [
        {
            "kind": kind,
            "prompt": prompt,
            "text": images[prompt, model]["text"],
            "model": model,
            "path": images[prompt, model]["path"],
            "value": values.get((prompt, model)),
        }
        for kind, some in kinds.items()
        for prompt in some
        for model in models
    ]


def _values(
    scores: Data | None, metric: str | None
) -> tuple[Mapping[tuple[str, str], float], tuple[str, str]]:
    """The score of the first sample by prompt and model; title and direction of the score."""
    if scores is None or not len(scores):
        return {}, ("", "higher")
    rows = rows_of(scores, ("model", "prompt", "metric", "value"), '`run.frame("scores")`')
    own = [row for row in rows if row["value"] is not None and not row.get("sample")]
    if not own:
        return {}, ("", "higher")
    chosen = one_metric(own, metric, '`run.frame("scores")`')
    measure = measure_of(chosen[0])
    found = {(row["prompt"], row["model"]): row["value"] for row in chosen}
    return found, (measure.title, chosen[0].get("better") or measure.better)


def _found(folder: str | Path, name: str) -> Path:
    path = Path(folder) / name
    if path.is_file():
        return path
    if Path(name).is_absolute():
        raise EvalkitError(f"{name} does not exist.", "Restore the image.", code="figures-5")
    place = f"the folder {folder}" if str(folder) else "the working directory"
    raise EvalkitError(
        f"{name} does not exist in {place}, and is a relative path.",
        "Give the folder that it begins at as `folder=`: the run folder for an images.csv of"
        " `evalkit figures`.",
        code="figures-6",
    )


def _show(axes: Axes, path: Path, place: tuple[float, float, float]) -> None:
    """An image in a square, from its left and upper end and its side in inches."""
    left, top, side = place
    try:
        with Image.open(path) as image:
            image.draft("RGB", (512, 512))
            small = image.convert("RGB")
        pixels = max(16, round(side * DPI))
        small.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise EvalkitError(
            f"{path} cannot be read as an image.", "Restore the image.", code="figures-7"
        ) from error
    width, height = (side * length / max(small.size) for length in small.size)
    left, top = left + (side - width) / 2, top + (side - height) / 2
    smooth = "nearest" if small.width < 48 else "antialiased"
    axes.imshow(
        np.asarray(small), extent=(left, left + width, top + height, top), aspect="auto",
        interpolation=smooth,
    )  # fmt: skip


def _name_prompts(figure: Figure, page: Page, rows: Sequence[Row], layout: Layout) -> None:
    """The kind of each block, and the prompt of each line, at the left."""
    size, height = 6.0 * page.scale, figure.get_figheight()
    step = 1.25 * size / 72  # inches from line to line of the text
    across = max(8, int((layout.label - 0.06 * page.scale) * 72 / (0.58 * size)))
    room, seen = max(2, int(layout.side / step)), set()
    texts = {row["prompt"]: row["text"] or row["prompt"] for row in rows}
    for (kind, prompt), (left, top) in layout.places.items():
        said = [] if kind in seen else textwrap.wrap(kind, across)[: room - 1]
        seen.add(kind)
        wrapped = textwrap.wrap(shorten(texts[prompt], 400), across)
        most = room - len(said)
        if len(wrapped) > most:
            wrapped = [*wrapped[: most - 1], f"{wrapped[most - 1][: across - 1]}…"]
        for place, (line, colour) in enumerate(
            [*((one, INK) for one in said), *((one, MUTED) for one in wrapped)]
        ):
            figure.text(
                (left + 0.02 * page.scale) / page.width, 1 - (top + place * step) / height, line,
                va="top", fontsize=size, color=colour,
            )  # fmt: skip


def _rule(figure: Figure, y: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([0, 1], [y, y], color=RULE, linewidth=0.5, transform=figure.transFigure, zorder=0)
