"""Trains the GAN: progressively larger pictures, two discriminators, matching-aware pairs."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.gan import Discriminator, FeatureDiscriminator, Gan
from evalkit.models.load import load_classifier, load_clip
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, load_state, save_state, save_weights
from evalkit.training.judge import for_the_curve, judge_scenes
from evalkit.training.loop import Curve, autocast, batches, choose_precision


class Stage(NamedTuple):
    size: int
    fade: float


def stage(progress: float, shares: tuple[tuple[int, float], ...] = ((8, 0.2), (16, 0.4), (32, 1.0))) -> Stage:
    """Size and fade at a point of the training, 0..1. shares: (size, where it ends). The first third of every size fades in."""
    begin = 0.0
    for size, end in shares:
        if progress < end or end >= 1:
            fade = 1.0 if begin == 0 else min(1.0, (progress - begin) / ((end - begin) / 3))
            return Stage(size, fade)
        begin = end
    raise AssertionError("the last share ends at 1")


def train_gan(
    out: Path, *, clip: Path, coach: Path, judge: Path, seed: int = 0, steps: int = 5000, batch: int = 48, scenes: int = 60_000,
    smoothing: float = 0.0, rate: float = 8e-4, device: str = "cpu",
) -> None:  # fmt: skip
    """Hinge losses. coach: a classifier that looks on for the discriminator and is used for nothing else. Resumes by itself.

    smoothing: one-sided label smoothing (Salimans et al. 2016): the margin asked of real pictures is 1 - smoothing.
    """
    torch.manual_seed(seed)
    dtype, reason = choose_precision("auto", device)
    print(reason, file=sys.stderr)
    some, words, random = data.scenes(seed * 10_000_000, scenes), data.tokenizer(), Random(seed)
    pictures = data.pictures(some)
    held_out, umpire = data.scenes(data.HELD_OUT, 300), load_classifier(judge).eval().to(device)
    reader = load_clip(clip)[0].to(device)
    network, pixel_critic = Gan().to(device), Discriminator().to(device)
    feature_critic = FeatureDiscriminator(load_classifier(coach).to(device)).to(device)
    critics = torch.nn.ModuleList([pixel_critic, feature_critic])
    average = Average(network, 0.998)
    drawing = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.0, 0.99))
    judging = torch.optim.Adam(critics.parameters(), lr=rate, betas=(0.0, 0.99))
    config = {"kind": "gan", "size": network.size, "noise": network.noise, "seed": seed}
    start = 0
    if state := load_state(out.with_suffix(".pt")):
        network.load_state_dict(state["network"])
        critics.load_state_dict(state["critics"])
        drawing.load_state_dict(state["drawing"])
        judging.load_state_dict(state["judging"])
        average.weights, average.steps, start = state["average"], state["step"], state["step"]
    curve = Curve(out.with_suffix(".csv"), ("size", "generator", "critic", "noun", "colour", "background", "everything", "counts", "pairs"))
    order = batches(scenes, batch, torch.Generator().manual_seed(seed + start))

    def scores(images: Tensor, texts: list[Tensor], fade: float) -> Tensor:
        """float32 [critics, texts, N]."""
        with autocast(dtype, device):
            both = pixel_critic(images, texts, fade), feature_critic(images, texts)
        return torch.stack([torch.stack(list(one)) for one in both]).float()

    for step, rows in track(zip(range(start, steps), order, strict=False), f"training {out.stem}", steps - start, "steps"):
        before, now = stage((step - 1) / steps), stage(step / steps)
        if before.fade < 1 == now.fade:  # the layers that drew while fading are another network: average anew
            average = Average(network, average.decay)
        for group in (*drawing.param_groups, *judging.param_groups):
            group["lr"] = rate * min(1.0, 4 * (1 - step / steps) + 0.05)
        with torch.no_grad():
            text = reader.texts(data.read([data.noisy_caption(some[row], random) for row in rows.tolist()], words).to(device))
        real = to_unit(pictures[rows].to(device))
        real = F.avg_pool2d(real, real.shape[-1] // now.size) if now.size < real.shape[-1] else real
        if now.fade < 1:  # the reals fade in like the fakes
            real = torch.lerp(F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear", align_corners=False), real, now.fade)
        with autocast(dtype, device):
            fake = network(text, torch.randn(len(rows), network.noise, device=device), now.size, now.fade)
        fake = fake.float()

        # The critics: real pictures with their captions against fakes, and against real pictures with another's caption.
        shift = shifts(len(rows), now.size)
        shown, drawn = augment(real, shift), augment(fake.detach(), shift)
        good, mismatched = scores(shown, [text, text.roll(1, 0)], now.fade).unbind(1)
        bad = scores(drawn, [text], now.fade)
        loss_critic = 2 * (F.relu(1 - smoothing - good).mean() + 0.5 * F.relu(1 + bad).mean() + 0.5 * F.relu(1 + mismatched).mean())
        judging.zero_grad()
        loss_critic.backward()
        judging.step()

        # The generator: whatever makes both critics take its picture for a real one of the text.
        critics.requires_grad_(False)
        loss = -2 * scores(augment(fake, shift), [text], now.fade).mean()
        drawing.zero_grad()
        loss.backward()
        critics.requires_grad_(True)
        drawing.step()
        average.update(network)

        if (step + 1) % 500 == 0 or step + 1 == steps:
            trained = Gan().to(device)
            trained.load_state_dict(average.weights)
            drawn = draw(trained.eval(), reader, held_out, device, now)
            right = judge_scenes(umpire, drawn, held_out)
            curve.log(step + 1, size=now.size, generator=loss.item(), critic=loss_critic.item(), **for_the_curve(right))
            save_weights(out, average.weights, config | {"steps": step + 1})
            networks = {"network": network.state_dict(), "critics": critics.state_dict(), "average": average.weights}
            optimisers = {"drawing": drawing.state_dict(), "judging": judging.state_dict()}
            save_state(out.with_suffix(".pt"), {**networks, **optimisers, "step": step + 1})


class Shifts(NamedTuple):
    """One draw of the differentiable augmentation (Zhao et al. 2020) for a batch."""

    x: int
    y: int
    brightness: Tensor  # [N, 1, 1, 1]


def shifts(count: int, size: int) -> Shifts:
    reach = size // 8
    x, y = torch.randint(-reach, reach + 1, (2,)).tolist()
    return Shifts(x, y, 0.3 * torch.rand(count, 1, 1, 1) - 0.15)


def augment(images: Tensor, by: Shifts) -> Tensor:
    """The critics see real and fake pictures shifted and brightened alike, so that they cannot learn the real ones by heart."""
    padding = max(abs(by.x), abs(by.y))
    if padding:
        size = images.shape[-1]
        padded = F.pad(images, (padding,) * 4, mode="replicate")
        images = padded[:, :, padding + by.y : padding + by.y + size, padding + by.x : padding + by.x + size]
    return images + by.brightness.to(images.device)


@torch.no_grad()
def draw(network: Gan, reader: torch.nn.Module, some: list[data.Scene], device: str, now: Stage) -> Tensor:
    """One picture for one caption of every scene: uint8 [N, 3, 32, 32], enlarged where the stage is smaller."""
    text = reader.texts(data.read(data.prompts_of(some), data.tokenizer()).to(device))  # pyright: ignore[reportCallIssue]
    noise = torch.randn(len(some), network.noise, generator=torch.Generator().manual_seed(11)).to(device)
    images = network(text, noise, now.size, now.fade)
    if now.size != 32:
        images = F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    return to_bytes(images).cpu()
