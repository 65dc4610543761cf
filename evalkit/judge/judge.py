"""How well generators draw what held-out prompts of the bundled world ask for, judged by a network
that nothing was trained against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders.mini import prepare
from evalkit.files import write_atomically
from evalkit.judge.grids import encode_png, tile
from evalkit.judge.verdicts import judge_scenes
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.scenes import dataset
from evalkit.seeds import image_seed
from evalkit.statistics.intervals import wilson

QUESTIONS = {  # what is asked of each kind of prompt
    "single": ("noun", "colour", "background", "everything"),
    "count": ("noun", "count", "everything"),
    "pair": ("noun", "relation", "everything"),
}
GRID = 64


class Answer(NamedTuple):
    """One share, with Wilson's 95% interval."""

    model: str
    prompts: str  # single, count, pair
    question: str
    right: float
    low: float
    high: float
    asked: int


def judge(
    models: Sequence[str] = ("dalle", "gan"),
    *,
    count: int = 1000,
    seed: int = 0,
    device: str = "auto",
    grid: Path | None = None,
) -> list[Answer]:
    """Judge generators (names or `package.module:attribute`) beside the real scenes and beside real
    scenes of other prompts.

    Args:
        count: held-out scenes; each is asked for by one complete caption.
        grid: a PNG of the first 64 prompts, one block per model, if wanted.
    """
    if count < GRID:
        raise EvalkitError(f"count is {count}, expected at least {GRID}.", "Ask for more pictures.")
    some = dataset.scenes(dataset.HELD_OUT + 10_000, count)
    prompts = dataset.prompts_of(some)
    network = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    real = dataset.pictures(some)
    drawn: dict[str, Tensor] = {
        "real scenes": real,
        "real scenes of other prompts": real.roll(1, 0),
    }
    seeds = [image_seed(seed, str(place), 0) for place in range(count)]
    for model in plugins.models(models, {}):
        draw = plugins.load_generator(model, device, [])
        drawn[model.label] = generate_images(draw, prompts, seeds, model.label)
    if grid is not None:
        write_atomically(
            grid,
            _grid(
                [
                    pictures[:GRID]
                    for name, pictures in drawn.items()
                    if name != "real scenes of other prompts"
                ]
            ),
        )
    rows: list[Answer] = []
    for name, pictures in drawn.items():
        shares = judge_scenes(network, pictures, some)
        for kind, questions in QUESTIONS.items():
            of_kind = [scene for scene in some if scene.kind == kind]
            for question in questions:
                asked = (
                    sum(any(item.colour for item in scene.items) for scene in of_kind)
                    if question == "colour"
                    else len(of_kind)
                )
                share = shares[f"{kind}/{question}"]
                interval = wilson(round(share * asked), asked)
                rows.append(
                    Answer(
                        name,
                        kind,
                        question,
                        share,
                        interval.low or 0.0,
                        interval.high or 1.0,
                        asked,
                    )
                )
    return rows


@torch.no_grad()
def generate_images(
    draw: Callable[..., Sequence[object]], prompts: Sequence[str], seeds: Sequence[int], label: str
) -> Tensor:
    """uint8 [N, 3, 32, 32], averaged where the generator's pictures are larger."""
    rows, size = list[Tensor](), max(64, getattr(draw, "at_once", 0))
    for start in range(0, len(prompts), size):
        for picture in draw(list(prompts[start : start + size]), list(seeds[start : start + size])):
            if not isinstance(picture, Image.Image):
                raise EvalkitError(
                    f"{label} refused a prompt of the bundled world: {picture}.",
                    "Judge a generator that answers all prompts.",
                )
            rows.append(prepare(picture.convert("RGB")))
    return torch.stack(rows)


def _grid(blocks: list[Tensor], columns: int = 16, scale: int = 2) -> bytes:
    """PNG: the same prompts row by row in every block, with white lines between the pictures."""
    rows = [tile(block, columns) for block in blocks]
    gap = torch.full((3, 12, rows[0].shape[2]), 255, dtype=torch.uint8)
    return encode_png(
        torch.cat([part for row in rows for part in (row, gap)][:-1], 1),
        scale,
        Image.Resampling.LANCZOS,
    )
