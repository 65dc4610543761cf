"""Small trainings for tests: a few scenes, networks of one block."""

import csv
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from evalkit.models.load import BUNDLED
from evalkit.scenes import dataset
from evalkit.training.dalle import train_dalle
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.loop import Settings

JUDGE, CLIP, TOKENIZER, COACH = (
    BUNDLED / f"{name}.safetensors"
    for name in ("mini-judge", "mini-clip", "image-tokenizer", "mini-coach")
)


def scenes(count: int = 64) -> dataset.SceneDataset:
    return dataset.SceneDataset(0, count)


def held_out(count: int = 64) -> dataset.SceneDataset:
    """count: 64 are the fewest with every kind of scene, which a judge needs."""
    return dataset.SceneDataset(dataset.HELD_OUT, count)


def settings(folder: Path, model: str, steps: int, batch: int = 16, **others: Any) -> Settings:
    out = folder / f"{model}.safetensors"
    return Settings(out, 0, steps, batch, **({"precision": "fp32"} | others))


def small_dalle(
    how: Settings,
    options: DalleOptions | None = None,
    *,
    judge: Path | None = JUDGE,
    count: int = 64,
) -> None:
    train_dalle(
        how,
        scenes(count),
        held_out(64 if judge else 8),
        options or DalleOptions(depth=1),
        tokenizer=TOKENIZER,
        clip=CLIP,
        judge=judge,
    )


def curve_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same_weights(one: Path, other: Path) -> bool:
    return same(load_file(one), load_file(other))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
