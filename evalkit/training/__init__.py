"""Training of everything that evalkit bundles, on the world that it bundles or on your pictures:
one flat loop for each model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.training.presets import MINI, MODELS, PRESETS, SEEDS, preset_of

if TYPE_CHECKING:
    from evalkit.scenes.dataset import Examples
    from evalkit.training.runtime.loop import Settings

__all__ = ["MINI", "MODELS", "PRESETS", "train"]
# examples that are looked at while training, of the bundled world; of a user's pictures a tenth, if
# that is less
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
    """Train one model. Writes to `out`: `<model>.safetensors` (fp16), its curve `<model>.csv` and
    `.png`, grids of samples in `<model>-samples`, and `<model>.pt`, from which a training that was
    interrupted goes on, bit for bit.

    What a model builds on is taken from `out` where it has been trained there, else from the
    bundled weights: mini-clip on mini-inception; the image tokenizer, with
    image-tokenizer.perceptual, on mini-coach; dalle on the image tokenizer and mini-clip; gan on
    mini-clip and mini-coach. mini-judge only measures. Under torchrun the processes share each
    batch, with the result of one.

    Args:
        model: one of MODELS; "mini" trains all of MINI.
        preset: by the pixels per side (32, 64, 128); "student" for a small dalle that learns from a
            large one, "guided" for one that learns to draw as a dalle does with guidance, "finer"
            for a gan or the decoder of an image tokenizer that go on at a low rate, "loose" for a
            dalle or a gan that learn to read captions that leave things open.
        data: pictures with captions instead of the bundled world; see
            `evalkit.training.captions.captioned.read_captioned`.
        seed: of weights, data and order; the bundled weights' own when None.
        steps, batch: optimiser steps, and examples in each of all processes together; the preset's
        when None.
        scenes: how many of the bundled world to train on; the preset's when None. Nothing where
            there is data.
        every: steps between checkpoints; the preset's when None.
        accumulate: parts in which a process takes its share of a batch, to save memory.
        precision: auto, bf16, fp16 or fp32.
        device: auto, cpu, cuda or cuda:N.
        options: of the network and its training, by name: `evalkit list training` shows them.

    Raises EvalkitError for anything that cannot be, before the training begins; and where a loss is
    no number, with its step.
    """
    from evalkit import plugins
    from evalkit.core import EvalkitError
    from evalkit.models.load import BUNDLED, device_of
    from evalkit.scenes.dataset import HELD_OUT as FIRST_HELD_OUT
    from evalkit.scenes.dataset import MOST_SCENES, SceneDataset, first_scene
    from evalkit.training.options import OPTIONS
    from evalkit.training.runtime.loop import Settings

    if model == "mini":
        shared = {"seed": seed, "steps": steps, "batch": batch, "accumulate": accumulate}
        shared |= {"scenes": scenes, "every": every, "precision": precision, "device": device}
        return [
            train(name, out=out, preset=preset, data=data, options=options, **shared)
            for name in MINI
        ][-1].parent  # pyright: ignore[reportArgumentType]
    chosen = preset_of(model, preset)
    counts = {
        "steps": steps,
        "batch": batch,
        "accumulate": accumulate,
        "scenes": scenes,
        "every": every,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise EvalkitError(
                f"{name} is {value}, expected at least 1.",
                f"Leave --{name} out for the usual number.",
            )
    if scenes is not None and scenes > MOST_SCENES:
        raise EvalkitError(
            f"scenes is {scenes}, expected at most {MOST_SCENES}.",
            "Those of the next seed begin behind them.",
        )
    how = OPTIONS[model](
        **plugins.checked_options(OPTIONS[model], {**chosen.options, **(options or {})}, model)
    )
    folder = Path(out)
    name = model if preset.isdigit() else f"{model}-{preset}"

    def trained(name: str) -> Path:
        own = folder / f"{name}.safetensors"
        return own if own.is_file() else BUNDLED / own.name

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
    examples: Examples
    held_out: Examples
    if data is None:
        examples = SceneDataset(first_scene(settings.seed), scenes or chosen.scenes, chosen.size)
        held_out, judge = SceneDataset(FIRST_HELD_OUT, HELD_OUT, chosen.size), trained("mini-judge")
    else:
        from evalkit.training.captions.captioned import read_captioned

        if model in ("mini-inception", "mini-judge", "mini-coach"):
            raise EvalkitError(
                f"{model} learns what is where in a picture, which captions do not say.",
                "Leave --data out.",
            )
        if model in ("dalle", "gan") and not (folder / "mini-clip.safetensors").is_file():
            message = f"There is no mini-clip in {folder} that has read these captions."
            raise EvalkitError(
                message, f"Train it first: `evalkit train mini-clip --data {data} --out {folder}`."
            )
        whole = read_captioned(data, chosen.size)
        examples, held_out = whole.split(min(HELD_OUT, max(1, len(whole) // 10)))
        judge = None
        settings = replace(settings, batch=min(settings.batch, len(examples)))
    _run(model, settings, examples, held_out, how, trained, judge)
    return settings.out


def _run(
    model: str,
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: Any,
    trained: Callable[[str], Path],
    judge: Path | None,
) -> None:
    """The loop of a model, with the weights that it builds on."""
    from evalkit.scenes.dataset import SceneDataset
    from evalkit.training.dalle import train_dalle
    from evalkit.training.gan import train_gan
    from evalkit.training.image_tokenizer import train_image_tokenizer
    from evalkit.training.loose import train_loose
    from evalkit.training.mini import train_classifier, train_clip

    def file(place: str) -> str:
        return str(trained(model)) if place == model else place

    if getattr(options, "loose", ""):
        options = replace(options, loose=file(options.loose))
        train_loose(
            settings,
            examples,
            held_out,
            options,
            tokenizer=trained("image-tokenizer"),
            judge=trained("mini-judge"),
        )
    elif model == "mini-clip":
        train_clip(settings, examples, held_out, classifier=trained("mini-inception"))
    elif model == "image-tokenizer":
        options = replace(options, weights=file(options.weights))
        train_image_tokenizer(settings, examples, held_out, options, coach=trained("mini-coach"))
    elif model == "dalle":
        teachers = ",".join(file(place.strip()) for place in options.teacher.split(","))
        options = replace(options, teacher=teachers, weights=file(options.weights))
        train_dalle(
            settings,
            examples,
            held_out,
            options,
            tokenizer=trained("image-tokenizer"),
            clip=trained("mini-clip"),
            judge=judge,
        )
    elif model == "gan":
        options = replace(options, weights=file(options.weights))
        train_gan(
            settings,
            examples,
            held_out,
            options,
            clip=trained("mini-clip"),
            coach=trained("mini-coach"),
            judge=judge,
        )
    else:
        assert isinstance(examples, SceneDataset)  # pictures of users are refused above
        train_classifier(settings, examples, options)
