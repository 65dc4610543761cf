"""Small trainings for tests: a handful of scenes, networks of one block."""

from pathlib import Path

from evalkit.models.load import BUNDLED
from evalkit.scenes import dataset
from evalkit.training.dalle import train_dalle
from evalkit.training.options import DalleOptions
from evalkit.training.runtime.loop import Settings

JUDGE, CLIP, TOKENIZER, COACH = (
    BUNDLED / f"{name}.safetensors"
    for name in ("mini-judge", "mini-clip", "image-tokenizer", "mini-coach")
)


def world(count: int = 64) -> dataset.SceneDataset:
    return dataset.SceneDataset(0, count)


def held_out() -> dataset.SceneDataset:
    return dataset.SceneDataset(dataset.HELD_OUT, 64)  # as few as hold every kind of scene


def settings(folder: Path, model: str, steps: int, batch: int = 16, **others: object) -> Settings:
    return Settings(
        folder / f"{model}.safetensors", 0, steps, batch, **({"precision": "fp32"} | others)
    )  # pyright: ignore[reportArgumentType]


def small_dalle(
    how: Settings,
    options: DalleOptions | None = None,
    *,
    judge: Path | None = JUDGE,
    scenes: int = 64,
) -> None:
    train_dalle(
        how,
        world(scenes),
        held_out(),
        options or DalleOptions(depth=1),
        tokenizer=TOKENIZER,
        clip=CLIP,
        judge=judge,
    )
