"""A step of the GAN: the turn of the discriminators, then that of generator and encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evalkit.models.discriminators import Discriminator, FeatureDiscriminator
from evalkit.models.gan import Gan, LatentEncoder, Posterior
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import to_unit
from evalkit.models.text import TextFeatures
from evalkit.training.gan_augmentation import Shifts, augment
from evalkit.training.gan_losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    loss_of,
)
from evalkit.training.gan_schedule import Stage, shown_at
from evalkit.training.options import GanOptions
from evalkit.training.runtime.loop import TrainingRun
from evalkit.training.runtime.precision import Descent

# Steps between gradient penalties, whose weight is multiplied by it (lazy regularisation; Karras et
# al. 2020).
PENALTY_EVERY = 16


@dataclass(frozen=True)
class Networks:
    clip: MiniClip  # frozen; the discriminators read the text through it
    generator: Gan
    encoder: LatentEncoder
    pixel_discriminator: Discriminator
    feature_discriminator: FeatureDiscriminator  # its feature network compares images, too
    discriminators: nn.ModuleList  # those in use


class Descents(NamedTuple):
    generator: Descent  # and the encoder
    discriminators: Descent


class Batch(NamedTuple):
    """The inputs of one step, of all processes together except for the images."""

    step: int
    stage: Stage
    rate: float  # factor of the learning rate
    frozen: bool  # whether the generator is frozen
    tokens: Tensor  # int64 [N, T]
    text: TextFeatures | None  # of CLIP; None before the discriminators start
    noise: Tensor  # float [N, noise], normal
    encoded: Tensor  # bool [N]: the encoder chooses the noise
    shifts: Shifts
    images: list[Tensor]  # uint8 [n, 3, S, S], for each share of this process


def train_step(
    networks: Networks, descents: Descents, batch: Batch, options: GanOptions, run: TrainingRun
) -> dict[str, float]:
    """Update the networks. Returns the losses of this process."""
    losses: dict[str, float] = {}
    if batch.text is not None:
        losses["discriminator"] = discriminator_turn(
            networks, descents.discriminators, batch, options, run
        )
        descents.discriminators.step(batch.rate)
    networks.discriminators.requires_grad_(False)
    networks.generator.requires_grad_(not batch.frozen)
    learning = options.reconstruction > 0 or not batch.frozen
    losses |= generator_turn(
        networks, descents.generator if learning else None, batch, options, run
    )
    networks.discriminators.requires_grad_(True)
    if learning:
        descents.generator.step(batch.rate)
    return losses


def discriminator_turn(
    networks: Networks, descent: Descent, batch: Batch, options: GanOptions, run: TrainingRun
) -> float:
    """Gradients of the discriminators. Returns the loss.

    Real images with their captions are compared with generated ones, and with real images that have
    the caption of another.
    """
    assert batch.text is not None
    kind, fade, total, parts = loss_of(options.loss), batch.stage.fade, 0.0, len(run.shares)
    others = batch.text.select((torch.arange(len(batch.tokens)) - 1) % len(batch.tokens))
    for share, images in zip(run.shares, batch.images, strict=True):
        whole = _on_device(images, run.device)
        real = augment(shown_at(whole, batch.stage), batch.shifts.of(share))
        with torch.no_grad():
            drawn = generate(networks, batch, share, whole, run)[0]
            fake = augment(drawn, batch.shifts.of(share))
        own, other = batch.text.select(share), others.select(share)
        of_real = _scores(networks, real, [own, other] if options.matching else [own], fade, run)
        loss = discriminator_loss(
            of_real[:, 0],
            _scores(networks, fake, [own], fade, run)[:, 0],
            of_real[:, 1] if options.matching else None,
            kind=kind,
            smoothing=options.smoothing,
        )
        total += loss.item() / parts
        if options.gradient_penalty and batch.step % PENALTY_EVERY == 0:
            real = real.detach().requires_grad_(True)
            scores = networks.pixel_discriminator(real, [own], fade)[0].float()
            penalty = gradient_penalty(scores, real)
            loss = loss + 0.5 * options.gradient_penalty * PENALTY_EVERY * penalty
        descent.backward(len(networks.discriminators) * loss, parts)
    return total


def generator_turn(
    networks: Networks, descent: Descent | None, batch: Batch, options: GanOptions, run: TrainingRun
) -> dict[str, float]:
    """Gradients of generator and encoder; without a descent only the losses. Returns the losses.

    Generated images should convince all discriminators. Those whose noise the encoder chose should
    also reconstruct the real image.
    """
    kind, parts, count = loss_of(options.loss), len(run.shares), len(networks.discriminators)
    totals = {"generator": 0.0} if batch.text is not None else {}
    totals |= {"reconstruction": 0.0, "divergence": 0.0}
    for share, images in zip(run.shares, batch.images, strict=True):
        whole = _on_device(images, run.device)
        fake, guess = generate(networks, batch, share, whole, run)
        loss = torch.zeros((), device=run.device)
        if batch.text is not None:
            augmented, text = augment(fake, batch.shifts.of(share)), [batch.text.select(share)]
            scores = _scores(networks, augmented, text, batch.stage.fade, run)
            loss = count * generator_loss(scores, kind=kind)
            totals["generator"] += loss.item() / count / parts
        if options.reconstruction:
            encoded = batch.encoded[share]
            real = shown_at(whole[encoded], batch.stage)
            away = difference(fake[encoded], real, networks.feature_discriminator)
            nats = guess.kl_divergence()[encoded].mean()
            totals["reconstruction"] += away.item() / parts
            totals["divergence"] += nats.item() / parts
            loss = loss + options.reconstruction * away + options.divergence * nats
        if descent:
            descent.backward(loss, parts)
    return totals


def generate(
    networks: Networks, batch: Batch, share: slice, real: Tensor, run: TrainingRun
) -> tuple[Tensor, Posterior]:
    """Images of the texts, and the noise distribution that the encoder sees in the real images."""
    generator, (size, fade) = networks.generator, batch.stage
    with run.precision.autocast():
        guess = networks.encoder(real)
        normal = batch.noise[share]
        noise = torch.where(batch.encoded[share][:, None], guess.sample(normal), normal)
        text = generator.encode_text(batch.tokens[share])
        return generator(text, noise, size, fade).float(), guess


def _scores(
    networks: Networks, images: Tensor, texts: list[TextFeatures], fade: float, run: TrainingRun
) -> Tensor:
    """float32 [discriminators, texts, N]."""
    with run.precision.autocast():
        scores = [networks.pixel_discriminator(images, texts, fade)]
        if len(networks.discriminators) > 1:
            scores.append(networks.feature_discriminator(images, texts))
    return torch.stack([torch.stack(list(one)) for one in scores]).float()


def difference(images: Tensor, real: Tensor, discriminator: FeatureDiscriminator) -> Tensor:
    """The mean difference of pixels, plus 0.1 of the relative difference of the feature maps.

    Pixels alone would be satisfied with a blur.
    """
    with torch.no_grad():
        goal = discriminator.feature_maps(real)
    seen = discriminator.feature_maps(images)
    features = torch.stack(
        [(x - y).abs().mean() / y.abs().mean() for x, y in zip(seen, goal, strict=True)]
    )
    return (images - real).abs().mean() + 0.1 * features.sum()


def _on_device(images: Tensor, device: str) -> Tensor:
    return to_unit(images.to(device).to(memory_format=torch.channels_last))
