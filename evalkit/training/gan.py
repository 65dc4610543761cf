"""Trains the GAN: progressively larger pictures, two critics, matching-aware pairs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from evalkit.core import EvalkitError
from evalkit.judge.verdicts import CURVE_COLUMNS, curve_metrics
from evalkit.models.discriminators import Discriminator, FeatureDiscriminator
from evalkit.models.gan import WIDTHS, Gan, LatentEncoder, Posterior
from evalkit.models.load import load_classifier, load_clip, load_gan
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import to_bytes, to_unit
from evalkit.models.text import SubwordTokenizer, TextFeatures, TextTower
from evalkit.scenes import dataset
from evalkit.training import data
from evalkit.training.gan_augmentation import Shifts, augment, shifts
from evalkit.training.gan_losses import critic_loss, generator_loss, gradient_penalty, kind_of
from evalkit.training.options import GanOptions
from evalkit.training.reading import take_lessons
from evalkit.training.runtime.checkpoints import Average, Checkpoint, begin_with
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, batch_of, generator_of, random_of
from evalkit.training.runtime.precision import Descent, choose_precision
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.runtime.processes import join

log = logging.getLogger(__name__)
LOSSES = {
    "generator": "generator's loss",
    "critic": "critic's loss",
    "reconstruction": "reconstruction",
    "divergence": "divergence",
}
# steps between gradient penalties, which then weigh as much more (lazily; Karras et al. 2020)
PENALTY_EVERY = 16


class Stage(NamedTuple):
    size: int
    fade: float


class Batch(NamedTuple):
    """What is prepared of a step: for all processes together, but for the pictures."""

    texts: Tensor  # int64 [N, T]
    pictures: list[Tensor]  # uint8 [n, 3, S, S], of the parts in which this process takes its share
    normal: Tensor  # float [N, noise]
    shift: Shifts


def stage(progress: float, size: int = 32, known: int = 4) -> Stage:
    """Size and fade at a point of the training, 0..1: every size has as long as all smaller ones
    together and a half more, and the first third of it fades in (Karras et al. 2018), where there
    is a smaller one: 4, or what is known from an earlier training.
    """
    sizes = [side for side in WIDTHS if known < side <= size]
    ends = [
        0.4 ** (len(sizes) - 1 - place) for place in range(len(sizes))
    ]  # 0.16, 0.4, 1 for 8, 16, 32
    place = next((place for place, end in enumerate(ends) if progress < end), len(ends) - 1)
    begin = ends[place - 1] if place else 0.0
    return Stage(
        sizes[place],
        1.0 if sizes[place] == 8 else min(1.0, (progress - begin) / ((ends[place] - begin) / 3)),
    )


def train_gan(
    settings: Settings,
    examples: dataset.Examples,
    held_out: dataset.Examples,
    options: GanOptions,
    *,
    clip: Path,
    coach: Path,
    judge: Path | None,
) -> None:
    """The generator and its encoder alone at first, then two critics against them, each in turn.
    Resumes by itself.

    coach: a classifier that looks on for the second critic and is used for nothing else.
    judge: a classifier that looks at the samples, where the examples are of the bundled world.
    """
    kind = kind_of(options.loss)
    if not (0 <= options.critics < 1 and 0 <= options.alone <= 1):
        raise EvalkitError(
            f"gan.critics is {options.critics} and gan.alone {options.alone}, expected shares of the steps, 0 to 1.",
            "Write --set gan.critics=0.8 for critics in the last fifth.",
        )
    if options.critics and options.critics + options.alone >= 1:
        raise EvalkitError(
            f"gan.critics is {options.critics} and gan.alone {options.alone}: the generator would never hear its critics.",
            "Make their sum less than 1.",
        )
    # Steps: the first with critics, and the first in which the generator hears them. The last step
    # has critics, however few there are.
    first_critics = min(round(options.critics * settings.steps), settings.steps - 1)
    first_heard = first_critics + round(options.alone * settings.steps)
    if first_critics and not options.reconstruction:
        raise EvalkitError(
            f"gan.critics is {options.critics} and gan.reconstruction 0: in the first {first_critics} steps nothing would be learned.",
            "Set one of the two: --set gan.critics=0 begins with the critics, --set gan.reconstruction=10 with pictures.",
        )
    own, device = join(settings.device)
    precision = choose_precision(settings.precision, device, own)
    log.info("%s", precision.reason)
    lots, shares = examples.lots(options.often), own.shares(settings.batch, settings.accumulate)
    torch.manual_seed(settings.seed)
    size = examples.size
    reader, reading = load_clip(clip)
    reader, words = reader.to(device), SubwordTokenizer(reading["words"], reading["context"])
    umpire = load_classifier(judge).eval().to(device) if judge else None
    network = (
        Gan(_tower(reader, options.depth), noise=options.noise, size=size)
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    encoder = LatentEncoder(options.noise, size).to(device)
    eyes = (
        load_classifier(coach).to(device).to(memory_format=torch.channels_last)
    )  # convolutions are faster so
    pixel_critic = Discriminator(size=size, spectral=options.spectral).to(device)
    feature_critic = FeatureDiscriminator(eyes, spectral=options.spectral).to(device)
    critics = torch.nn.ModuleList(
        [pixel_critic, feature_critic] if options.eyes else [pixel_critic]
    )
    critics.to(memory_format=torch.channels_last)
    average = Average(network, options.average)
    adam = {"lr": options.rate, "betas": (0.0, 0.99)}
    taught = [*network.parameters(), *encoder.parameters()]
    drawing = Descent(taught, {"adam": torch.optim.Adam(taught, **adam)}, precision, own)
    judging = Descent(
        list(critics.parameters()),
        {"adam": torch.optim.Adam(critics.parameters(), **adam)},
        precision,
        own,
    )
    config = {
        "kind": "gan", "pieces": list(words.pieces), "context": words.context, "width": network.text.position.shape[1],
        "depth": options.depth, "size": size, "noise": options.noise, "widths": list(WIDTHS.items()), "seed": settings.seed,
    }  # fmt: skip
    before = load_gan(Path(options.weights)) if options.weights else None
    # the size from which it grows; "gan" names the own file as soon as there is one, which
    # remembers it
    known = 4
    if before is not None and options.growing:
        theirs = before[1]
        known = int(theirs["size"]) if theirs["size"] < size else int(theirs.get("grown_from", 4))
        config |= {"grown_from": known} if known > 4 else {}
    checkpoint = Checkpoint(
        settings.out,
        config,
        average,
        network=network,
        encoder=encoder,
        critics=critics,
        drawing=drawing,
        judging=judging,
    )
    start = checkpoint.resume()
    if start == 0:
        if before is not None:
            trained, theirs = before
            begin_with(
                network,
                Path(options.weights),
                trained,
                theirs | ({"size": size} if known == theirs["size"] else {}),
                config,
            )
        else:
            tower, lessons = network.text, min(options.reading, settings.steps)
            below = [*tower.word.parameters(), tower.position, *tower.norm.parameters()]
            take_lessons(
                network, tower.blocks, below, examples, words, steps=lessons, seed=settings.seed
            )
        average.restart(network)
    columns = ("size", *LOSSES, *(CURVE_COLUMNS if umpire else ()))
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=device)

    def scores(images: Tensor, texts: list[TextFeatures], fade: float) -> Tensor:
        """float32 [critics, texts, N]."""
        with precision.autocast():
            both = [
                pixel_critic(images, texts, fade),
                *([feature_critic(images, texts)] if options.eyes else []),
            ]
        return torch.stack([torch.stack(list(one)) for one in both]).float()

    def drawn(
        numbers: Tensor, whole: Tensor, normal: Tensor, told: Tensor, now: Stage
    ) -> tuple[Tensor, Posterior]:
        """Pictures of texts, and what the encoder says of real ones; those that are told draw with
        the noise that it says.
        """
        with precision.autocast():
            guess = encoder(whole)
            noise = torch.where(told[:, None], guess.sample(normal), normal)
            return network(network.encode_text(numbers), noise, now.size, now.fade).float(), guess

    def stage_of(step: int) -> Stage:
        if not options.growing:
            return Stage(size, 1.0)
        return stage(step / settings.steps, size, known)

    def prepare(step: int) -> Batch:
        rows, generator = (
            batch_of(step, lots, settings.batch, settings.seed).tolist(),
            generator_of(settings.seed, step),
        )
        captions = [
            examples.caption(row, random_of(settings.seed, step, place))
            for place, row in enumerate(rows)
        ]
        normal = torch.randn(settings.batch, network.noise, generator=generator)
        shift = shifts(settings.batch, stage_of(step).size, generator)
        return Batch(
            data.read(captions, words),
            [examples.pictures(rows[share]) for share in shares],
            normal,
            shift,
        )

    def pictured(pictures: Tensor) -> Tensor:
        return to_unit(pictures.to(device).to(memory_format=torch.channels_last))

    for step, batch in each_step(prepare, start, settings, device, own.count):
        before, now = stage_of(step - 1), stage_of(step)
        if (
            before.fade < 1 == now.fade
        ):  # the layers that drew while fading are another network: average anew
            average.restart(network)
        rate = min(1.0, 4 * (1 - step / settings.steps) + 0.05)
        numbers, normal, shift = batch.texts.to(device), batch.normal.to(device), batch.shift
        # before there are critics, the generator learns from what the encoder saw, and nobody else
        # reads
        with torch.no_grad():
            text = reader.text_features(numbers) if step >= first_critics else None
        told = (
            torch.arange(settings.batch, device=device) % (1 if text is None else 2) == 0
        )  # draw with what the encoder says
        told &= options.reconstruction > 0

        # The critics: real pictures with their captions against drawn ones, and against real
        # pictures with another's caption.
        sums = dict.fromkeys(LOSSES if text is not None else ("reconstruction", "divergence"), 0.0)
        if text is not None:
            other = text.select((torch.arange(settings.batch) - 1) % settings.batch)
            for share, pictures in zip(shares, batch.pictures, strict=True):
                whole = pictured(pictures)
                real = augment(shown_at(whole, now), shift.of(share))
                with torch.no_grad():
                    fake = augment(
                        drawn(numbers[share], whole, normal[share], told[share], now)[0],
                        shift.of(share),
                    )
                asked = (
                    [text.select(share), other.select(share)]
                    if options.matching
                    else [text.select(share)]
                )
                of_real = scores(real, asked, now.fade)
                mismatched = of_real[:, 1] if options.matching else None
                of_fake = scores(fake, asked[:1], now.fade)[:, 0]
                loss = critic_loss(
                    of_real[:, 0], of_fake, mismatched, kind=kind, smoothing=options.smoothing
                )
                sums["critic"] += loss.item() / len(shares)
                if options.gradient_penalty and step % PENALTY_EVERY == 0:
                    real = real.detach().requires_grad_(True)
                    penalty = gradient_penalty(
                        pixel_critic(real, asked[:1], now.fade)[0].float(), real
                    )
                    loss = loss + 0.5 * options.gradient_penalty * PENALTY_EVERY * penalty
                judging.backward(len(critics) * loss, len(shares))
            judging.step(rate)

        # The generator, and the encoder: whatever makes both critics take its picture for a real
        # one of the text, and what the encoder saw.
        critics.requires_grad_(False)
        alone = first_critics <= step < first_heard
        network.requires_grad_(not alone)
        learning = not alone or options.reconstruction > 0
        for share, pictures in zip(shares, batch.pictures, strict=True):
            whole = pictured(pictures)
            fake, guess = drawn(numbers[share], whole, normal[share], told[share], now)
            loss = torch.zeros((), device=device)
            if text is not None:
                loss = len(critics) * generator_loss(
                    scores(augment(fake, shift.of(share)), [text.select(share)], now.fade),
                    kind=kind,
                )
                sums["generator"] += loss.item() / len(critics) / len(shares)
            if options.reconstruction:
                mine = told[share]
                away = difference(fake[mine], shown_at(whole[mine], now), feature_critic)
                nats = guess.kl_divergence()[mine].mean()
                sums["reconstruction"] += away.item() / len(shares)
                sums["divergence"] += nats.item() / len(shares)
                loss = loss + options.reconstruction * away + options.divergence * nats
            if learning:
                drawing.backward(loss, len(shares))
        critics.requires_grad_(True)
        if learning:
            drawing.step(rate)
        average.update(network)
        losses = {
            name: check_finite(own.mean(value), step, LOSSES[name]) for name, value in sums.items()
        }

        done = step + 1
        if own.first and (done % settings.every == 0 or done == settings.steps):
            curve.stop_clock(done)
            trained = Gan(_tower(reader, options.depth), noise=options.noise, size=size).to(device)
            trained.load_state_dict(average.weights)
            asked_for = held_out.prompts() if umpire else held_out.prompts()[:64]
            looked_at = draw(trained.eval(), words, asked_for, device, now)
            right = curve_metrics(umpire, looked_at, held_out)
            curve.log(done, size=now.size, **losses, **right)
            curve.save_samples(done, looked_at[:64])
            checkpoint.save(done)
            curve.resume_clock()


def _tower(reader: MiniClip, depth: int) -> TextTower:
    """A text encoder that begins with the words of a CLIP."""
    vocabulary, width = reader.text.word.weight.shape
    tower = TextTower(vocabulary, reader.text.position.shape[0], width, depth, ordered=True)
    tower.load_state_dict(
        {"word.weight": reader.text.word.weight, "position": reader.text.position}, strict=False
    )
    return tower


def difference(pictures: Tensor, real: Tensor, critic: FeatureDiscriminator) -> Tensor:
    """How far pictures are from real ones: the mean difference of their pixels, and a tenth of the
    relative one of each of the maps that a frozen classifier makes of them. Pixels alone would be
    satisfied with a blur.
    """
    with torch.no_grad():
        goal = critic.feature_maps(real)
    seen = critic.feature_maps(pictures)
    features = torch.stack(
        [(x - y).abs().mean() / y.abs().mean() for x, y in zip(seen, goal, strict=True)]
    )
    return (pictures - real).abs().mean() + 0.1 * features.sum()


def shown_at(real: Tensor, now: Stage) -> Tensor:
    """Real pictures as the critics see them at a stage: at its size, and fading in like the drawn
    ones. float [N, 3, S, S].
    """
    real = F.avg_pool2d(real, real.shape[-1] // now.size) if now.size < real.shape[-1] else real
    if now.fade < 1:
        small = F.interpolate(
            F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear", align_corners=False
        )
        real = torch.lerp(small, real, now.fade)
    return real


@torch.no_grad()
def draw(
    network: Gan, words: SubwordTokenizer, prompts: list[str], device: str, now: Stage
) -> Tensor:
    """One picture for each prompt: uint8 [N, 3, S, S], enlarged where the stage is smaller."""
    text = network.encode_text(data.read(prompts, words).to(device))
    noise = torch.randn(
        len(prompts), network.noise, generator=torch.Generator().manual_seed(11)
    ).to(device)
    images = network(text, noise, now.size, now.fade)
    if now.size != network.size:
        images = F.interpolate(
            images, size=(network.size, network.size), mode="bilinear", align_corners=False
        )
    return to_bytes(images).cpu()
