"""Trains the GAN: progressively larger pictures, two critics, matching-aware pairs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.models.gan import WIDTHS, Discriminator, FeatureDiscriminator, Gan
from evalkit.models.load import load_classifier, load_clip
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.models.text import SubwordTokenizer, TextFeatures
from evalkit.terminal import track
from evalkit.training import data
from evalkit.training.checkpoint import Average, Checkpoint
from evalkit.training.curve import Curve, check_finite
from evalkit.training.distributed import join
from evalkit.training.gan_losses import critic_loss, generator_loss, gradient_penalty, kind_of, likeness
from evalkit.training.judge import CURVE, for_the_curve
from evalkit.training.loop import Settings, batch_of, generator_of, random_of
from evalkit.training.options import GanOptions
from evalkit.training.precision import Descent, choose_precision

log = logging.getLogger(__name__)
WEIGHT_OF_DIVERSITY = 8.0  # beside the score of each critic
PENALTY_EVERY = 16  # steps between gradient penalties, which then weigh as much more (lazily; Karras et al. 2020)


class Stage(NamedTuple):
    size: int
    fade: float


def stage(progress: float, size: int = 32) -> Stage:
    """Size and fade at a point of the training, 0..1: every size has as long as all smaller ones together and a half more, and
    the first third of it fades in (Karras et al. 2018)."""
    sizes = [side for side in WIDTHS if 8 <= side <= size]
    ends = [0.4 ** (len(sizes) - 1 - place) for place in range(len(sizes))]  # 0.16, 0.4, 1 for 8, 16, 32
    place = next((place for place, end in enumerate(ends) if progress < end), len(ends) - 1)
    begin = ends[place - 1] if place else 0.0
    return Stage(sizes[place], 1.0 if place == 0 else min(1.0, (progress - begin) / ((ends[place] - begin) / 3)))


def train_gan(
    settings: Settings,
    examples: data.Examples,
    held_out: data.Examples,
    options: GanOptions,
    *,
    clip: Path,
    coach: Path,
    judge: Path | None,
) -> None:
    """Two critics against one generator, each in turn. Resumes by itself.

    coach: a classifier that looks on for the second critic and is used for nothing else.
    judge: a classifier that looks at the samples, where the examples are of the bundled world.
    """
    kind = kind_of(options.loss)
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device)
    log.info("%s", precision.reason)
    torch.manual_seed(settings.seed)
    size = examples.size
    reader, reading = load_clip(clip)
    reader, words = reader.to(device), SubwordTokenizer(reading["words"], reading["context"])
    umpire = load_classifier(judge).eval().to(device) if judge else None
    network = Gan(noise=options.noise, size=size).to(device).to(memory_format=torch.channels_last)  # convolutions are faster so
    eyes = load_classifier(coach).to(device).to(memory_format=torch.channels_last)
    pixel_critic = Discriminator(size=size, spectral=options.spectral).to(device)
    feature_critic = FeatureDiscriminator(eyes, spectral=options.spectral).to(device)
    critics = torch.nn.ModuleList([pixel_critic, feature_critic] if options.eyes else [pixel_critic])
    critics.to(memory_format=torch.channels_last)
    average = Average(network, options.average)
    adam = {"lr": options.rate, "betas": (0.0, 0.99)}
    drawing = Descent(list(network.parameters()), {"adam": torch.optim.Adam(network.parameters(), **adam)}, precision, own)
    judging = Descent(list(critics.parameters()), {"adam": torch.optim.Adam(critics.parameters(), **adam)}, precision, own)
    config = {"kind": "gan", "size": size, "noise": options.noise, "widths": list(WIDTHS.items()), "seed": settings.seed}
    checkpoint = Checkpoint(settings.out, config, average, network=network, critics=critics, drawing=drawing, judging=judging)
    start = checkpoint.resume()
    columns = ("size", "generator", "critic", "likeness", *(CURVE if umpire else ()))
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=device)
    lots, shares = examples.lots(), own.shares(settings.batch, settings.accumulate)
    chosen = torch.arange(settings.batch)  # the texts that the generator draws when it is taught
    if options.diversity:
        chosen = chosen - 4 * (chosen // 4 % 2)  # every second four of them are the four before, with other noise

    def scores(images: Tensor, texts: list[TextFeatures], fade: float) -> Tensor:
        """float32 [critics, texts, N]."""
        with precision.autocast():
            both = [pixel_critic(images, texts, fade), *([feature_critic(images, texts)] if options.eyes else [])]
        return torch.stack([torch.stack(list(one)) for one in both]).float()

    for step in track(range(start, settings.steps), f"training {settings.out.stem}", settings.steps - start, "steps"):
        before, now = stage((step - 1) / settings.steps, size), stage(step / settings.steps, size)
        if not options.growing:
            before = now = Stage(size, 1.0)
        if before.fade < 1 == now.fade:  # the layers that drew while fading are another network: average anew
            average.restart(network)
        rate = min(1.0, 4 * (1 - step / settings.steps) + 0.05)
        rows = batch_of(step, lots, settings.batch, settings.seed).tolist()
        captions = [examples.caption(row, random_of(settings.seed, step, place)) for place, row in enumerate(rows)]
        with torch.no_grad():
            text = reader.read(data.read(captions, words).to(device))
        generator = generator_of(settings.seed, step)
        noise = torch.randn(settings.batch, network.noise, generator=generator).to(device)
        shift = shifts(settings.batch, now.size, generator)

        def drawn(text: TextFeatures, noise: Tensor, now: Stage = now) -> Tensor:
            with precision.autocast():
                return network(text.pooled, noise, now.size, now.fade).float()

        # The critics: real pictures with their captions against drawn ones, and against real pictures with another's caption.
        other = text.of((torch.arange(settings.batch) - 1) % settings.batch)
        sums = [0.0, 0.0, 0.0]
        for share in shares:
            real = to_unit(examples.pictures(rows[share]).to(device).to(memory_format=torch.channels_last))
            real = augment(shown_at(real, now), shift.of(share))
            with torch.no_grad():
                fake = augment(drawn(text.of(share), noise[share]), shift.of(share))
            told = [text.of(share), other.of(share)] if options.matching else [text.of(share)]
            of_real = scores(real, told, now.fade)
            mismatched = of_real[:, 1] if options.matching else None
            of_fake = scores(fake, told[:1], now.fade)[:, 0]
            loss = critic_loss(of_real[:, 0], of_fake, mismatched, kind=kind, smoothing=options.smoothing)
            sums[0] += loss.item() / len(shares)
            if options.gradient_penalty and step % PENALTY_EVERY == 0:
                real = real.detach().requires_grad_(True)
                penalty = gradient_penalty(pixel_critic(real, told[:1], now.fade)[0].float(), real)
                loss = loss + 0.5 * options.gradient_penalty * PENALTY_EVERY * penalty
            judging.backward(len(critics) * loss, len(shares))
        judging.step(rate)

        # The generator: whatever makes both critics take its picture for a real one of the text.
        critics.requires_grad_(False)
        for share in shares:
            told = text.of(chosen[share])
            pictures = drawn(told, noise[share])
            loss = len(critics) * generator_loss(scores(augment(pictures, shift.of(share)), [told], now.fade), kind=kind)
            sums[1] += loss.item() / len(critics) / len(shares)
            pairs = torch.nonzero(chosen[share][:-4] == chosen[share][4:])[:, 0]
            if len(pairs):
                alike = likeness(pictures[pairs], pictures[pairs + 4], options.diversity)
                sums[2] += alike.item() / len(shares)
                loss = loss + WEIGHT_OF_DIVERSITY * alike
            drawing.backward(loss, len(shares))
        critics.requires_grad_(True)
        drawing.step(rate)
        average.update(network)
        names = ("critic's loss", "generator's loss", "likeness")
        losses = [check_finite(own.mean(value), step, name) for value, name in zip(sums, names, strict=True)]

        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = Gan(noise=options.noise, size=size).to(device)
            trained.load_state_dict(average.weights)
            asked = held_out.prompts() if umpire else held_out.prompts()[:64]
            looked_at = draw(trained.eval(), reader, words, asked, device, now)
            right = for_the_curve(umpire, looked_at, held_out)
            curve.log(done, size=now.size, generator=losses[1], critic=losses[0], likeness=losses[2], **right)
            curve.save_samples(done, looked_at[:64])
            checkpoint.save(done)
            curve.resume_clock()


def shown_at(real: Tensor, now: Stage) -> Tensor:
    """Real pictures as the critics see them at a stage: at its size, and fading in like the drawn ones. float [N, 3, S, S]."""
    real = F.avg_pool2d(real, real.shape[-1] // now.size) if now.size < real.shape[-1] else real
    if now.fade < 1:
        small = F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear", align_corners=False)
        real = torch.lerp(small, real, now.fade)
    return real


class Shifts(NamedTuple):
    """One draw of the differentiable augmentation (Zhao et al. 2020) for a batch."""

    x: int
    y: int
    brightness: Tensor  # [N, 1, 1, 1]

    def of(self, share: slice) -> Shifts:
        return self._replace(brightness=self.brightness[share])


def shifts(count: int, size: int, generator: torch.Generator) -> Shifts:
    reach = size // 8
    x, y = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    return Shifts(x, y, 0.3 * torch.rand(count, 1, 1, 1, generator=generator) - 0.15)


def augment(images: Tensor, by: Shifts) -> Tensor:
    """The critics see real and fake pictures shifted and brightened alike, so that they cannot learn the real ones by heart."""
    padding = max(abs(by.x), abs(by.y))
    if padding:
        size = images.shape[-1]
        padded = F.pad(images, (padding,) * 4, mode="replicate")
        images = padded[:, :, padding + by.y : padding + by.y + size, padding + by.x : padding + by.x + size]
    return images + by.brightness.to(images.device)


@torch.no_grad()
def draw(network: Gan, reader: MiniClip, words: SubwordTokenizer, prompts: list[str], device: str, now: Stage) -> Tensor:
    """One picture for each prompt: uint8 [N, 3, S, S], enlarged where the stage is smaller."""
    text = reader.texts(data.read(prompts, words).to(device))
    noise = torch.randn(len(prompts), network.noise, generator=torch.Generator().manual_seed(11)).to(device)
    images = network(text, noise, now.size, now.fade)
    if now.size != network.size:
        images = F.interpolate(images, size=(network.size, network.size), mode="bilinear", align_corners=False)
    return to_bytes(images).cpu()
