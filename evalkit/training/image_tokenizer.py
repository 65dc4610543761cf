"""Trains the discrete image tokenizer to reconstruct scenes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from evalkit.models.image_tokenizer import ImageTokenizer
from evalkit.models.mini_inception import to_unit
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, save_weights
from evalkit.training.loop import Curve, autocast, batches, choose_precision, schedule


def train_image_tokenizer(
    out: Path,
    *,
    seed: int = 0,
    levels: tuple[int, ...] = (8, 8, 6, 5),
    width: int = 64,
    steps: int = 3000,
    batch: int = 64,
    scenes: int = 60_000,
    device: str = "cpu",
) -> None:
    """L1 and L2 on pixels and on their differences to the neighbours, which keeps edges sharp. Writes out.safetensors."""
    torch.manual_seed(seed)
    dtype, reason = choose_precision("auto", device)
    print(reason, file=sys.stderr)
    pictures = data.pictures(data.scenes(seed * 10_000_000, scenes))
    held_out = to_unit(data.pictures(data.scenes(data.HELD_OUT, 250))).to(device)
    network = ImageTokenizer(levels, width).to(device)
    average = Average(network, 0.998)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=0.01, betas=(0.9, 0.98))
    curve = Curve(out.with_suffix(".csv"), ("loss", "psnr", "codes"))
    generator = torch.Generator().manual_seed(seed)
    for step, rows in track(zip(range(steps), batches(scenes, batch, generator), strict=False), f"training {out.stem}", steps, "steps"):
        optimiser.param_groups[0]["lr"] = 2.5e-3 * schedule(step, steps, 200)
        images = to_unit(pictures[rows].to(device))
        with autocast(dtype, device):
            drawn = network(images)
        error = drawn.float() - images
        loss = error.abs().mean() + 2 * error.square().mean()
        loss = loss + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update(network)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            trained = ImageTokenizer(levels, width).to(device)
            trained.load_state_dict(average.weights, strict=False)
            with torch.no_grad():
                tokens = trained.encode(held_out)
                error = F.mse_loss(trained.decode(tokens).clamp(-1, 1), held_out)
            curve.log(step + 1, loss=loss.item(), psnr=float(10 * torch.log10(4 / error)), codes=float(tokens.unique().numel()))
            save_weights(
                out,
                average.weights,
                {"kind": "image tokenizer", "levels": list(levels), "width": width, "doublings": 2, "seed": seed, "steps": step + 1},
            )
