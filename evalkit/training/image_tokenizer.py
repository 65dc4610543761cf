"""Trains the discrete image tokenizer to reconstruct images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.load import load_classifier, load_image_tokenizer
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.scenes.dataset import Examples
from evalkit.training.options import TokenizerOptions
from evalkit.training.perceptual import perceptual_loss
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage, initialise_from
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, TrainingRun, schedule, start_run
from evalkit.training.runtime.precision import Descent
from evalkit.training.runtime.prefetch import each_step


def train_image_tokenizer(
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: TokenizerOptions,
    *,
    feature_network: Path,
) -> None:
    """Trains the encoder and the decoder, or the decoder alone with options.weights.

    Resumes by itself.

    held_out: images for the samples, the PSNR and the codes in use.
    feature_network: a classifier for the perceptual loss, where options.perceptual is not 0.
    """
    levels = parse_levels(options.levels)
    if options.width % 64 or options.width < 64:
        raise EvalkitError(
            f"image-tokenizer.width is {options.width}, expected a multiple of 64.",
            "For example 64 or 128.",
            code="training-32",
        )
    run = start_run(settings)
    unseen = held_out.images(range(min(len(held_out), 250)))
    network = ImageTokenizer(levels, options.width, options.doublings).to(run.device)
    features = None
    if options.perceptual:
        features = load_classifier(feature_network).eval().requires_grad_(False).to(run.device)
    trained = load_image_tokenizer(Path(options.weights)) if options.weights else None
    network.encoder.requires_grad_(trained is None)
    learned = [p for p in network.parameters() if p.requires_grad]
    average = MovingAverage(network, 0.998)
    optimiser = torch.optim.AdamW(learned, lr=options.rate, weight_decay=0.01, betas=(0.9, 0.98))
    descent = Descent(learned, {"adam": optimiser}, run.precision, run.processes, clip=1.0)
    config = {"kind": "image tokenizer", "levels": list(levels), "width": options.width}
    config |= {"doublings": options.doublings, "seed": settings.seed}
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    if start == 0 and trained is not None:
        initialise_from(network, Path(options.weights), *trained, config)
        average.restart(network)
    columns = ("loss", "psnr", "codes")
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    for step, parts in each_step(partial(_prepare, run=run, examples=examples), start, run):
        total = 0.0
        for part in parts:
            images = to_unit(part.to(run.device))
            with run.precision.autocast():
                drawn = network(images)
            loss = reconstruction_loss(drawn.float(), images)
            if features is not None:
                loss = loss + options.perceptual * perceptual_loss(features, drawn.float(), images)
            descent.backward(loss, len(parts))
            total += loss.item() / len(parts)
        total = check_finite(run.processes.mean(total), step)
        descent.step(schedule(step, settings.steps, 200))
        average.update_parameters(network)
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                right, drawn = evaluate(average.module, to_unit(unseen.to(run.device)))
                curve.log(done, loss=total, **right)
                # Each original image is followed by its reconstruction.
                pairs = torch.stack((unseen[:32], to_bytes(drawn[:32]).cpu()), 1).flatten(0, 1)
                curve.save_samples(done, pairs)
                checkpoint.save(done)


def _prepare(step: int, run: TrainingRun, examples: Examples) -> list[Tensor]:
    rows = run.batch(step, torch.arange(len(examples)))
    return [examples.images(rows[share]) for share in run.shares]


def reconstruction_loss(drawn: Tensor, images: Tensor) -> Tensor:
    """L1 and L2 of pixels, and L1 of the differences to neighbours, which keeps edges sharp."""
    error = drawn - images
    loss = error.abs().mean() + 2 * error.square().mean()
    return loss + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


@torch.no_grad()
def evaluate(network: ImageTokenizer, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """PSNR (in dB, peak 255) and the number of codes in use; the reconstructions."""
    tokens = network.encode(images)
    drawn = network.decode(tokens).clamp(-1, 1)
    psnr = float(10 * torch.log10(4 / F.mse_loss(drawn, images)))
    return {"psnr": psnr, "codes": float(tokens.unique().numel())}, drawn


def parse_levels(text: str) -> tuple[int, ...]:
    """ "8,8,8,6" -> (8, 8, 8, 6)."""
    levels = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if len(levels) != text.count(",") + 1 or min(levels) < 2:
        raise EvalkitError(
            f"image-tokenizer.levels is {text!r}, expected whole numbers from 2, joined by commas.",
            "For example 8,8,8,6.",
            code="training-33",
        )
    return levels
