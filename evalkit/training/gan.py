"""Trains the GAN: progressive growing, two discriminators, matching-aware pairs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evalkit.models.discriminators import Discriminator, FeatureDiscriminator
from evalkit.models.gan import WIDTHS, Gan, LatentEncoder
from evalkit.models.load import load_classifier, load_clip, load_gan
from evalkit.models.mini_clip import MiniClip
from evalkit.models.mini_inception import to_bytes
from evalkit.models.text import SubwordTokenizer, TextTower
from evalkit.scenes.dataset import Examples
from evalkit.scorers.verdicts import CURVE_COLUMNS, curve_metrics
from evalkit.training.gan_augmentation import Shifts, random_shifts
from evalkit.training.gan_losses import loss_of
from evalkit.training.gan_schedule import GanSchedule, Stage, discriminator_steps
from evalkit.training.gan_steps import Batch, Descents, Networks, train_step
from evalkit.training.options import GanOptions
from evalkit.training.runtime.checkpoints import Checkpoint, MovingAverage, initialise_from
from evalkit.training.runtime.curve import Curve, check_finite
from evalkit.training.runtime.loop import Settings, TrainingRun, start_run
from evalkit.training.runtime.precision import Descent
from evalkit.training.runtime.prefetch import each_step
from evalkit.training.text_pretraining import pretrain_text
from evalkit.training.tokens import tokenize

LOSSES = {
    "generator": "generator's loss",
    "discriminator": "discriminator's loss",
    "reconstruction": "reconstruction",
    "divergence": "divergence",
}


class Prepared(NamedTuple):
    """The part of a batch that needs no network, on the CPU."""

    tokens: Tensor  # int64 [N, T]
    images: list[Tensor]  # uint8 [n, 3, S, S], for each share of this process
    noise: Tensor  # float [N, noise], normal
    shifts: Shifts


def train_gan(
    settings: Settings,
    examples: Examples,
    held_out: Examples,
    options: GanOptions,
    *,
    clip: Path,
    feature_network: Path,
    judge: Path | None,
) -> None:
    """First the generator and its encoder alone, then with two discriminators against them.

    Resumes by itself.

    feature_network: a classifier for the second discriminator, which nothing else uses.
    judge: a classifier that rates the samples, for the bundled data set only.
    """
    loss_of(options.loss)  # an unknown one is refused before anything is loaded
    first_steps = discriminator_steps(options, settings.steps)
    run = start_run(settings)
    rows = examples.epoch_rows(options.oversample)
    reader, header = load_clip(clip)
    tokenizer = SubwordTokenizer(header["words"], header["context"])
    judge_network = load_classifier(judge).eval().to(run.device) if judge else None
    networks = _networks(reader.to(run.device), feature_network, examples.size, options, run.device)
    network, encoder = networks.generator, networks.encoder
    average = MovingAverage(network, options.average)
    average.to(memory_format=torch.contiguous_format)  # which decides the last bits of the samples
    descents = _descents(networks, options.rate, run)
    trained = load_gan(Path(options.weights)) if options.weights else None
    grown_from = _grown_from(trained[1], examples.size) if trained and options.growing else 4
    schedule = GanSchedule(settings.steps, examples.size, options.growing, grown_from, *first_steps)
    config = _config(network, tokenizer, options.depth, settings.seed, grown_from)
    checkpoint = Checkpoint(
        settings.out, config, average, network=network, encoder=encoder,
        discriminators=networks.discriminators, generator_descent=descents.generator,
        discriminator_descent=descents.discriminators,
    )  # fmt: skip
    start = checkpoint.resume()
    if start == 0:
        if trained is not None:
            theirs = trained[1]
            if grown_from == theirs["size"]:
                theirs = theirs | {"size": examples.size}
            initialise_from(network, Path(options.weights), trained[0], theirs, config)
        else:
            _pretrain_text(network, examples, tokenizer, options, settings)
        average.restart(network)
    columns = ("size", *LOSSES, *(CURVE_COLUMNS if judge else ()))
    curve = Curve(settings.out, columns, start=start, images=settings.batch, device=run.device)
    prepare = partial(
        _prepare, run=run, rows=rows, examples=examples, tokenizer=tokenizer, schedule=schedule,
        noise=options.noise,
    )  # fmt: skip
    for step, prepared in each_step(prepare, start, run):
        now = schedule.stage(step)
        if schedule.stage(step - 1).fade < 1 == now.fade:
            average.restart(network)  # layers that drew during the fade are no longer in use
        batch = _batch(step, prepared, networks.clip, schedule, options, run.device)
        values = train_step(networks, descents, batch, options, run)
        average.update_parameters(network)
        losses = {
            name: check_finite(run.processes.mean(values[name]), step, label)
            for name, label in LOSSES.items()
            if name in values
        }
        done = step + 1
        if run.saves_after(done):
            with curve.evaluation(done):
                prompts = held_out.prompts() if judge_network else held_out.prompts()[:64]
                drawn = draw(average.module.eval(), tokenizer, prompts, run.device, now)
                right = curve_metrics(judge_network, drawn, held_out)
                curve.log(done, size=now.size, **losses, **right)
                curve.save_samples(done, drawn[:64])
                checkpoint.save(done)


def _networks(
    clip: MiniClip, feature_network: Path, size: int, options: GanOptions, device: str
) -> Networks:
    # Convolutions are faster with channels last.
    generator = Gan(text_tower(clip, options.depth), noise=options.noise, size=size)
    generator = generator.to(device).to(memory_format=torch.channels_last)
    encoder = LatentEncoder(options.noise, size).to(device)
    features = load_classifier(feature_network).to(device).to(memory_format=torch.channels_last)
    pixels = Discriminator(size=size, spectral=options.spectral).to(device)
    of_features = FeatureDiscriminator(features, spectral=options.spectral).to(device)
    used = nn.ModuleList([pixels, of_features] if options.feature_discriminator else [pixels])
    used.to(memory_format=torch.channels_last)
    return Networks(clip, generator, encoder, pixels, of_features, used)


def text_tower(clip: MiniClip, depth: int) -> TextTower:
    """A text encoder that starts with the word vectors of a CLIP."""
    vocabulary, width = clip.text.word.weight.shape
    tower = TextTower(vocabulary, clip.text.position.shape[0], width, depth, ordered=True)
    state = {"word.weight": clip.text.word.weight, "position": clip.text.position}
    tower.load_state_dict(state, strict=False)
    return tower


def _descents(networks: Networks, rate: float, run: TrainingRun) -> Descents:
    def descent(*modules: nn.Module) -> Descent:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        adam = torch.optim.Adam(parameters, lr=rate, betas=(0.0, 0.99))
        return Descent(parameters, {"adam": adam}, run.precision, run.processes)

    return Descents(descent(networks.generator, networks.encoder), descent(networks.discriminators))


def _grown_from(header: dict[str, Any], size: int) -> int:
    """The size from which a gan with this header grows.

    After the first checkpoint "gan" names the own file, whose header stores it.
    """
    return int(header["size"]) if header["size"] < size else int(header.get("grown_from", 4))


def _config(
    network: Gan, tokenizer: SubwordTokenizer, depth: int, seed: int, grown_from: int
) -> dict[str, Any]:
    config = {
        "kind": "gan",
        "pieces": list(tokenizer.pieces),
        "context": tokenizer.context,
        "width": network.text.position.shape[1],
        "depth": depth,
        "size": network.size,
        "noise": network.noise,
        "widths": list(WIDTHS.items()),
        "seed": seed,
    }
    return config | ({"grown_from": grown_from} if grown_from > 4 else {})


def _pretrain_text(
    network: Gan,
    examples: Examples,
    tokenizer: SubwordTokenizer,
    options: GanOptions,
    settings: Settings,
) -> None:
    tower = network.text
    inputs = [*tower.word.parameters(), tower.position, *tower.norm.parameters()]
    steps = min(options.text_pretraining, settings.steps)
    pretrain_text(
        network, tower.blocks, inputs, examples, tokenizer, steps=steps, seed=settings.seed
    )


def _prepare(
    step: int,
    run: TrainingRun,
    rows: Tensor,
    examples: Examples,
    tokenizer: SubwordTokenizer,
    schedule: GanSchedule,
    noise: int,
) -> Prepared:
    batch, generator = run.batch(step, rows), run.generator(step)
    captions = [
        examples.caption(row, random) for row, random in zip(batch, run.randoms(step), strict=True)
    ]
    normal = torch.randn(len(batch), noise, generator=generator)
    shifts = random_shifts(len(batch), schedule.stage(step).size, generator)
    images = [examples.images(batch[share]) for share in run.shares]
    return Prepared(tokenize(captions, tokenizer), images, normal, shifts)


def _batch(
    step: int,
    prepared: Prepared,
    clip: MiniClip,
    schedule: GanSchedule,
    options: GanOptions,
    device: str,
) -> Batch:
    tokens, count = prepared.tokens.to(device), len(prepared.tokens)
    text = None  # only the discriminators read through CLIP
    if step >= schedule.discriminator_start:
        with torch.no_grad():
            text = clip.text_features(tokens)
    # Without discriminators only reconstructions teach, so all noise comes from the encoder; later
    # half of it.
    encoded = torch.arange(count, device=device) % (1 if text is None else 2) == 0
    return Batch(
        step=step,
        stage=schedule.stage(step),
        rate=schedule.rate(step),
        frozen=schedule.generator_frozen(step),
        tokens=tokens,
        text=text,
        noise=prepared.noise.to(device),
        encoded=encoded & (options.reconstruction > 0),
        shifts=prepared.shifts,
        images=prepared.images,
    )


@torch.no_grad()
def draw(
    network: Gan, tokenizer: SubwordTokenizer, prompts: list[str], device: str, now: Stage
) -> Tensor:
    """One image per prompt: uint8 [N, 3, S, S], enlarged where the stage is smaller."""
    text = network.encode_text(tokenize(prompts, tokenizer).to(device))
    generator = torch.Generator().manual_seed(11)
    noise = torch.randn(len(prompts), network.noise, generator=generator).to(device)
    images = network(text, noise, now.size, now.fade)
    if now.size != network.size:
        size = (network.size, network.size)
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return to_bytes(images).cpu()
