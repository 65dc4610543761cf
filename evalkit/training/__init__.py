"""Training of every model that evalkit bundles, on the bundled data set or on your images.

There is one flat loop for each network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core import EvalkitError
from evalkit.training.presets import MINI, MODELS, PRESETS, SEEDS, preset_of

if TYPE_CHECKING:
    from evalkit.scenes.dataset import Examples
    from evalkit.training.runtime.loop import Settings

__all__ = ["MINI", "MODELS", "PRESETS", "train"]
# Held-out examples for the curve, of the bundled data set; of a user's images a tenth, if that is
# less.
HELD_OUT = 300


def train(
    model: str,
    *,
    out: Path | str,
    preset: str = "32",
    data: Path | str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    accumulate: int = 1,
    scenes: int | None = None,
    every: int | None = None,
    precision: str = "auto",
    device: str = "auto",
    options: Mapping[str, str | int | float | bool] | None = None,
) -> Path:
    """Train one model.

    Writes to `out`: `<model>.safetensors` (fp16), the curve `<model>.csv` and `.png`, sample grids
    in `<model>-samples`, and `<model>.pt`, from which an interrupted training resumes, bit for bit.

    A model that builds on others takes them from `out` if they were trained there, else from the
    bundled weights: mini-clip needs mini-inception; the image tokenizer, with
    image-tokenizer.perceptual, needs mini-coach; dalle needs the image tokenizer and mini-clip; gan
    needs mini-clip and mini-coach. mini-judge is for evaluation only. Under torchrun the processes
    share each batch, with the result of one process.

    Args:
        model: one of MODELS; "mini" trains all of MINI.
        preset: the pixels per side (32, 64, 128), or "student" for a small dalle that learns from a
            large one, "guided" for one that learns to draw as a dalle does with guidance, "finer"
            for further training of an image tokenizer's decoder, "underspecified" for a dalle or
            gan that learns underspecified captions.
        data: images with captions instead of the bundled data set; see
            `evalkit.training.captions.dataset.read_dataset`.
        seed: of weights, data and order; that of the bundled weights when None.
        steps: optimiser steps; the preset's when None.
        batch: examples in each step, of all processes together; the preset's when None.
        scenes: number of training scenes of the bundled data set; the preset's when None. Ignored
            with data.
        every: steps between checkpoints; the preset's when None.
        accumulate: parts in which a process takes its share of a batch, to save memory.
        precision: auto, bf16, fp16 or fp32.
        device: auto, cpu, cuda or cuda:N.
        options: of the network and its training, by name: `evalkit list training` shows them.

    Raises EvalkitError for invalid arguments, before the training starts, and for a loss that is
    not finite, with its step.
    """
    from evalkit import plugins
    from evalkit.models.load import device_of
    from evalkit.training.options import OPTIONS
    from evalkit.training.runtime.loop import Settings

    if model == "mini":
        shared: dict[str, Any] = {
            "out": out, "preset": preset, "data": data, "seed": seed, "steps": steps,
            "batch": batch, "accumulate": accumulate, "scenes": scenes, "every": every,
            "precision": precision, "device": device, "options": options,
        }  # fmt: skip
        return [train(name, **shared) for name in MINI][-1].parent
    chosen = preset_of(model, preset)
    _check_counts(steps=steps, batch=batch, accumulate=accumulate, scenes=scenes, every=every)
    given = plugins.checked_options(OPTIONS[model], {**chosen.options, **(options or {})}, model)
    folder = Path(out)
    name = model if preset.isdigit() else f"{model}-{preset}"
    settings = Settings(
        out=folder / f"{name}.safetensors",
        seed=SEEDS.get(model, 0) if seed is None else seed,
        steps=steps or chosen.steps,
        batch=batch or chosen.batch,
        accumulate=accumulate,
        precision=precision,
        device=device_of(device),
        every=every or chosen.every,
    )
    if data is None:
        examples, held_out = _bundled(settings.seed, scenes or chosen.scenes, chosen.size)
    else:
        examples, held_out = _of_user(model, data, chosen.size, folder)
        settings = replace(settings, batch=min(settings.batch, len(examples)))
    _run(model, settings, examples, held_out, OPTIONS[model](**given))
    return settings.out


def _check_counts(**counts: int | None) -> None:
    from evalkit.scenes.dataset import MOST_SCENES

    for name, value in counts.items():
        if value is not None and value < 1:
            raise EvalkitError(
                f"{name} is {value}, expected at least 1.",
                f"Leave out --{name} for the default.",
                code="training-1",
            )
    scenes = counts["scenes"]
    if scenes is not None and scenes > MOST_SCENES:
        raise EvalkitError(
            f"scenes is {scenes}, expected at most {MOST_SCENES}.",
            "Use fewer: those beyond this number are the scenes of the next seed.",
            code="training-2",
        )


def _bundled(seed: int, scenes: int, size: int) -> tuple[Examples, Examples]:
    """Training examples of the bundled data set, and held-out ones."""
    from evalkit.scenes import dataset

    return (
        dataset.SceneDataset(dataset.first_scene(seed), scenes, size),
        dataset.SceneDataset(dataset.HELD_OUT, HELD_OUT, size),
    )


def _of_user(model: str, data: Path | str, size: int, folder: Path) -> tuple[Examples, Examples]:
    """Training examples of a user's images, and held-out ones."""
    from evalkit.features.validation import write_image_checks
    from evalkit.training.captions.dataset import read_dataset

    if model in ("mini-inception", "mini-judge", "mini-coach"):
        raise EvalkitError(
            f"{model} learns the positions of objects, which captions do not contain.",
            "Leave out --data.",
            code="training-3",
        )
    if model in ("dalle", "gan") and not (folder / "mini-clip.safetensors").is_file():
        raise EvalkitError(
            f"There is no mini-clip in {folder} that was trained on these captions.",
            f"Train it first: `evalkit train mini-clip --data {data} --out {folder}`.",
            code="training-4",
        )
    whole = read_dataset(data, size)
    write_image_checks(folder, whole.checks)
    return whole.split(min(HELD_OUT, max(1, len(whole) // 10)))


def _run(
    model: str, settings: Settings, examples: Examples, held_out: Examples, options: Any
) -> None:
    """Call the loop of a model with the weights that it builds on."""
    from evalkit.models.load import BUNDLED
    from evalkit.scenes.dataset import SceneDataset
    from evalkit.training.classifier import train_classifier
    from evalkit.training.clip import train_clip
    from evalkit.training.dalle import train_dalle
    from evalkit.training.gan import train_gan
    from evalkit.training.image_tokenizer import train_image_tokenizer
    from evalkit.training.underspecified import train_underspecified

    def weights(name: str) -> Path:
        own = settings.out.with_name(f"{name}.safetensors")
        return own if own.is_file() else BUNDLED / own.name

    def file(place: str) -> str:
        return str(weights(model)) if place == model else place

    # The judge knows the bundled data set only.
    judge = weights("mini-judge") if isinstance(held_out, SceneDataset) else None
    tokenizer, clip = weights("image-tokenizer"), weights("mini-clip")
    coach = weights("mini-coach")
    data = settings, examples, held_out
    if getattr(options, "underspecified", ""):
        options = replace(options, underspecified=file(options.underspecified))
        train_underspecified(*data, options, tokenizer=tokenizer, judge=weights("mini-judge"))
    elif model == "mini-clip":
        train_clip(*data, classifier=weights("mini-inception"))
    elif model == "image-tokenizer":
        options = replace(options, weights=file(options.weights))
        train_image_tokenizer(*data, options, feature_network=coach)
    elif model == "dalle":
        teachers = ",".join(file(place.strip()) for place in options.teacher.split(","))
        options = replace(options, teacher=teachers, weights=file(options.weights))
        train_dalle(*data, options, tokenizer=tokenizer, clip=clip, judge=judge)
    elif model == "gan":
        options = replace(options, weights=file(options.weights))
        train_gan(*data, options, clip=clip, feature_network=coach, judge=judge)
    else:
        assert isinstance(examples, SceneDataset)  # _of_user refuses other images
        train_classifier(settings, examples, options)
