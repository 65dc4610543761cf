"""Trains the discrete image tokenizer to reconstruct pictures."""

from __future__ import annotations

import logging
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
from evalkit.training.runtime.checkpoints import Average, Checkpoint, begin_with
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, batch_of, schedule
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.runtime.processes import join

log = logging.getLogger(__name__)


def train_image_tokenizer(
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: TokenizerOptions,
    *,
    coach: Path,
) -> None:
    """L1 and L2 on pixels and on their differences to the neighbours, which keeps edges sharp.
    Resumes by itself.

    held_out: pictures for the samples, and for the PSNR (in dB, peak 255) and the number of codes
    in use in the curve.
    coach: the classifier that looks on, where options.perceptual is not 0.
    """
    levels = parse_levels(options.levels)
    if options.width % 64 or options.width < 64:
        raise EvalkitError(
            f"image-tokenizer.width is {options.width}, expected a multiple of 64.",
            "For example 64 or 128.",
        )
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    torch.manual_seed(settings.seed)
    unseen = held_out.pictures(range(min(len(held_out), 250)))
    network = ImageTokenizer(levels, options.width, options.doublings).to(device)
    eyes = (
        load_classifier(coach).eval().requires_grad_(False).to(device)
        if options.perceptual
        else None
    )
    before = load_image_tokenizer(Path(options.weights)) if options.weights else None
    network.encoder.requires_grad_(before is None)
    learning = [p for p in network.parameters() if p.requires_grad]
    average = Average(network, 0.998)
    optimiser = torch.optim.AdamW(learning, lr=options.rate, weight_decay=0.01, betas=(0.9, 0.98))
    descent = Descent(learning, {"adam": optimiser}, precision, own, clip=1.0)
    config = {"kind": "image tokenizer", "levels": list(levels), "width": options.width}
    config |= {"doublings": options.doublings, "seed": settings.seed}
    checkpoint = Checkpoint(settings.out, config, average, network=network, descent=descent)
    start = checkpoint.resume()
    if start == 0 and before is not None:
        begin_with(network, Path(options.weights), *before, config)
        average.restart(network)
    curve = Curve(
        settings.out, ("loss", "psnr", "codes"), start=start, images=settings.batch, device=device
    )
    lots, shares = torch.arange(len(examples)), own.shares(settings.batch, settings.accumulate)

    def prepare(step: int) -> list[Tensor]:
        rows = batch_of(step, lots, settings.batch, settings.seed).tolist()
        return [examples.pictures(rows[share]) for share in shares]

    for step, parts in each_step(prepare, start, settings, device, own.count):
        total = 0.0
        for part in parts:
            images = to_unit(part.to(device))
            with precision.autocast():
                drawn = network(images)
            error = drawn.float() - images
            loss = error.abs().mean() + 2 * error.square().mean()
            loss = loss + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
            if eyes is not None:
                loss = loss + options.perceptual * perceptual_loss(eyes, drawn.float(), images)
            descent.backward(loss, len(shares))
            total += loss.item() / len(shares)
        total = check_finite(own.mean(total), step)
        descent.step(schedule(step, settings.steps, 200))
        average.update(network)
        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = ImageTokenizer(levels, options.width, options.doublings).to(device)
            trained.load_state_dict(average.weights, strict=False)
            with torch.no_grad():
                tokens = trained.encode(to_unit(unseen.to(device)))
                drawn = trained.decode(tokens).clamp(-1, 1)
            psnr = float(10 * torch.log10(4 / F.mse_loss(drawn, to_unit(unseen.to(device)))))
            curve.log(done, loss=total, psnr=psnr, codes=float(tokens.unique().numel()))
            pairs = torch.stack((unseen[:32], to_bytes(drawn[:32]).cpu()), 1).flatten(
                0, 1
            )  # each beside its original
            curve.save_samples(done, pairs)
            checkpoint.save(done)
            curve.resume_clock()


def parse_levels(text: str) -> tuple[int, ...]:
    """ "8,8,8,6" -> (8, 8, 8, 6)."""
    levels = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if len(levels) != text.count(",") + 1 or min(levels) < 2:
        raise EvalkitError(
            f"image-tokenizer.levels is {text!r}, expected whole numbers from 2, joined by commas.",
            "For example 8,8,8,6.",
        )
    return levels
