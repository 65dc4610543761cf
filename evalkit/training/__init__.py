"""Training of everything that evalkit bundles, on the world that it bundles: one function, one command, one flat loop each."""

from __future__ import annotations

from pathlib import Path

MINI = ("mini-inception", "mini-judge", "mini-coach", "mini-clip")
MODELS = ("mini", *MINI, "image-tokenizer", "dalle", "gan")


def train(model: str, *, out: Path, seed: int | None = None, steps: int | None = None, device: str = "auto") -> Path:
    """Train one model and write `out/<model>.safetensors` (fp16) and its curve `out/<model>.csv`. An interrupted training of
    dalle or gan goes on where its last checkpoint stands.

    What a model builds on is taken from `out` where it has been trained there, else from the bundled weights: mini-clip on
    mini-inception; dalle on the image tokenizer and mini-clip; gan on mini-clip and mini-coach. mini-judge only measures.

    Args:
        model: one of MODELS; "mini" trains all of MINI.
        seed: of weights, data and order; the bundled weights' own when None.
        steps: optimiser steps; those of the bundled weights when None.
        device: auto, cpu, cuda or cuda:N.
    """
    from evalkit.core import EvalkitError
    from evalkit.models.load import BUNDLED, device_of
    from evalkit.training.dalle import train_dalle
    from evalkit.training.gan import train_gan
    from evalkit.training.image_tokenizer import train_image_tokenizer
    from evalkit.training.mini import train_classifier, train_clip

    if model not in MODELS:
        raise EvalkitError(f"There is no model {model!r} to train.", f"Train one of {', '.join(MODELS)}.")
    if steps is not None and steps < 1:
        raise EvalkitError(f"steps is {steps}, expected at least 1.", "Leave --steps out for the number that the bundled weights took.")

    if model == "mini":
        return [train(name, out=out, seed=seed, steps=steps, device=device) for name in MINI][-1].parent

    def trained(name: str) -> Path:
        own = out / f"{name}.safetensors"
        return own if own.is_file() else BUNDLED / own.name

    target, where = out / f"{model}.safetensors", device_of(device)
    if model == "mini-inception":
        train_classifier(target, seed=seed or 0, width=24, steps=steps or 1800, device=where)
    elif model == "mini-judge":
        train_classifier(target, seed=1 if seed is None else seed, width=20, steps=steps or 1200, device=where)
    elif model == "mini-coach":
        train_classifier(target, seed=2 if seed is None else seed, width=16, steps=steps or 800, device=where)
    elif model == "mini-clip":
        train_clip(target, classifier=trained("mini-inception"), seed=seed or 0, steps=steps or 1200, device=where)
    elif model == "image-tokenizer":
        train_image_tokenizer(target, seed=seed or 0, steps=steps or 3000, device=where)
    elif model == "dalle":
        tokenizer, clip, judge = trained("image-tokenizer"), trained("mini-clip"), trained("mini-judge")
        train_dalle(target, tokenizer=tokenizer, clip=clip, judge=judge, seed=seed or 0, steps=steps or 8000, device=where)
    else:
        train_gan(
            target,
            clip=trained("mini-clip"),
            coach=trained("mini-coach"),
            judge=trained("mini-judge"),
            seed=seed or 0,
            steps=steps or 5000,
            device=where,
        )
    return target
